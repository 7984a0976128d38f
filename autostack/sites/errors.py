"""What can go wrong between us and the object store, whichever store it is."""

from __future__ import annotations

from autostack.errors import NotFound, Unavailable


class StoreUnavailable(Unavailable):
    """The store refused, broke off or did not answer in time. Another try later may work."""

    code = "STORE_UNAVAILABLE"


class ObjectNotFound(NotFound):
    """The store answered, and has no such object."""

    code = "OBJECT_NOT_FOUND"
