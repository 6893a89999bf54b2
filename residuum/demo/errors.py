"""Errors that the page shows: a sentence, and the status of the HTTP reply."""

from residuum.sw.errors import ResiduumError

BAD_REQUEST, FORBIDDEN, NOT_FOUND, TOO_LARGE, WRONG_TYPE = 400, 403, 404, 413, 415
SERVER_FAILED, DEVICE_FAILED, ENDING = 500, 502, 503


class RequestError(ResiduumError):
    """A request that cannot be answered; ``status`` is that of the HTTP reply."""

    def __init__(self, message: str, status: int = BAD_REQUEST):
        super().__init__(message)
        self.status = status
