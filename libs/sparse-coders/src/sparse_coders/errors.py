"""What can be wrong with a sparse coder on disk or with what it is given."""

from dragoman.errors import UserTaskError


class MalformedCoder(UserTaskError):
    """A coder's files are not what sparsify's layout promises; reading them again would give the same."""

    reason = "MALFORMED_CODER"


class UnsupportedCoder(MalformedCoder):
    """A well-formed coder of an architecture that this version cannot run."""

    reason = "UNSUPPORTED_CODER"


class InvalidShape(UserTaskError):
    """Sizes that cannot make a coder, or activations of another width than the coder's."""

    reason = "INVALID_SHAPE"


class InvalidOption(UserTaskError):
    """An option of training that is out of its range or that does not fit the coder."""

    reason = "INVALID_OPTION"
