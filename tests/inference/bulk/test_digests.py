import pytest

from threeages.errors import ConfigError
from threeages.inference.bulk.digests import SIZE, DigestSet, Shard, digest_name

NAMES = [f"photos/{i}.jpg" for i in range(5000)]


def test_each_name_is_new_once() -> None:
    seen = DigestSet()
    assert [seen.add(digest_name(name)) for name in NAMES] == [True] * len(NAMES)
    assert not any(seen.add(digest_name(name)) for name in NAMES)
    assert len(seen) == len(NAMES)


def test_a_name_takes_few_bytes() -> None:
    seen = DigestSet()
    for name in NAMES:
        seen.add(digest_name(name))
    assert len(seen._cells) <= 3 * SIZE * len(NAMES)


def test_names_of_any_bytes_have_digests() -> None:
    assert digest_name("a\udcff.jpg") != digest_name("a.jpg")


def test_shards_are_disjoint_and_complete() -> None:
    digests = [digest_name(name) for name in NAMES]
    shards = [Shard.parse(f"{i}/3") for i in (1, 2, 3)]
    takers = [sum(shard.takes(digest) for shard in shards) for digest in digests]
    assert takers == [1] * len(NAMES)
    sizes = [sum(map(shard.takes, digests)) for shard in shards]
    assert min(sizes) > 0.9 * len(NAMES) / 3


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/", "/3", "a/b", "-1/3", "1/0"])
def test_other_shards_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="The shard was") as raised:
        Shard.parse(text)
    assert "I/N" in raised.value.hint
