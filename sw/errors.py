"""The one family of errors that a user of the software can cause."""


class ResiduumError(Exception):
    """What is wrong, where, and what to do about it, in one plain sentence.

    The command line prints ``residuum: <sentence>`` and ends with status 1, without a traceback.
    Anything that is *not* a ``ResiduumError`` is a fault of the program.
    """
