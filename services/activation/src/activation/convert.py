"""Requests to plain specs. The only file of this service that knows protobuf."""

from dragoman.activation.v1 import activation_pb2 as pb
from dragoman.ids import Json
from dragoman.rpc.convert import spec_dict

AnyRequest = (
    pb.SubmitTokensRequest
    | pb.SubmitActivationsRequest
    | pb.SubmitLatentsRequest
    | pb.SubmitEffectsRequest
    | pb.SubmitFidelityRequest
)


def spec_of(request: AnyRequest) -> dict[str, Json]:
    """Returns the spec of a submit request, with only what was given. Raises InvalidSpec."""
    return spec_dict(request.spec)
