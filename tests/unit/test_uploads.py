"""Parts on their way to the store while their task goes on."""

import threading

import pytest
from dragoman.artifacts import PartInfo
from dragoman.errors import Unavailable
from dragoman.kinds import Part
from dragoman.worker.uploads import Uploads


def made(part: Part) -> PartInfo:
    """What the store tells of a part."""
    return PartInfo(part.name, part.name, 0, "", 0, {}, 0, 0, True)


def test_a_part_whose_file_stays_is_not_waited_for_and_the_next_is_behind_it() -> None:
    gate, uploaded = threading.Event(), list[str]()

    def put(part: Part) -> PartInfo:
        assert gate.wait(10)
        uploaded.append(part.name)
        return made(part)

    with Uploads(put, lambda: None) as uploads:
        uploads.add(Part("first", data=b"", stays=True))
        assert not uploaded, "the task goes on"
        gate.set()
        uploads.add(Part("second", data=b""))
        assert uploaded == ["first", "second"]
        uploads.add(Part("third", data=b"", stays=True))
        assert [part.name for part in uploads.wait()] == ["first", "second", "third"]


def test_what_went_wrong_with_one_part_is_raised_with_the_next_and_nothing_follows() -> None:
    asked = list[str]()

    def put(part: Part) -> PartInfo:
        asked.append(part.name)
        raise Unavailable("the store is away")

    with Uploads(put, lambda: None) as uploads:
        uploads.add(Part("first", data=b"", stays=True))
        with pytest.raises(Unavailable, match="the store is away"):
            uploads.add(Part("second", data=b"", stays=True))
    assert asked == ["first"]
