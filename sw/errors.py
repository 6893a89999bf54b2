"""The exception for errors that a user can cause."""


class ResiduumError(Exception):
    """One plain sentence: what is wrong, where, and what to do about it.

    The command line prints ``residuum: <sentence>`` and ends with status 1, without a traceback.
    Any other exception is a fault of the program.
    """
