"""What a split leaves on both sides, in words for whoever is to believe a score on its test rows."""

from collections.abc import Iterator

from threeages.data.manifest import Manifest
from threeages.data.split import Split
from threeages.errors import format_count

RECOGNITION = "The accuracy may reward recognising people, not their age."


def count_shared_identities(manifest: Manifest, split: Split) -> int | None:
    """How many identities have rows in both train and test.

    None where that is not known: no row has an identity, or none is shared and some rows have no identity.
    """
    names = manifest.identities()
    if names is None:
        return None
    train, test = set(names[split.train].tolist()), set(names[split.test].tolist())
    shared = len(train & test - {""})
    return None if not shared and "" in train | test else shared


def describe_leakage(manifest: Manifest, split: Split, mode: str) -> Iterator[str]:
    """What a user should know, a sentence each, before a score on the test rows is believed.

    A random split puts identities, and images that stand in several rows, on both sides; the other modes let
    through near duplicates alone that are not copies beyond doubt.
    """
    if mode == "random":
        shared = count_shared_identities(manifest, split)
        if shared != 0:
            found = "the same identities may be"
            if shared is not None:
                found = f"{format_count(shared, 'identity is', 'identities are')}"
            yield f"Random split: {found} in both train and test rows. {RECOGNITION}"
    if split.leaked_duplicates:
        yield (
            f"Exact duplicates of {split.leaked_duplicates:,} of {format_count(split.test, 'test row')} are "
            "in the train rows, as where rows were oversampled before the split: their answers can be "
            "remembered. Remove the duplicates ('threeages data audit' lists them), or split by identity."
        )
    if split.leaked_near_duplicates and mode == "random":
        yield (
            f"Near duplicates alone of {split.leaked_near_duplicates:,} of "
            f"{format_count(split.test, 'test row')} are in the train rows, such as augmented or compressed "
            "copies."
        )
