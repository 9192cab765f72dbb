"""Commands that share a model: push and pull."""

from pathlib import Path
from typing import Annotated

import typer

Repo = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository on the hub.")]


def push(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder with an ONNX file, or the file.")],
    repo: Repo,
    card: Annotated[
        Path | None, typer.Option(help="The model's card; by default README.md beside it.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make the repository a private one.")] = False,
    revision: Annotated[str, typer.Option(help="Branch, which is made where it is missing.")] = "main",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be uploaded.")] = False,
) -> None:
    """Upload a model with its card to the Hugging Face hub, or to that of HF_ENDPOINT.

    The ONNX file, the card, the signature and a licence go up, and nothing else.
    """
    from threeages.hub.contents import collect_model, describe_digests
    from threeages.hub.remote import Hub

    shared = collect_model(model, card)
    hub = Hub()
    kind = "private" if private else "public, unless it exists and is private"
    typer.echo(f"To {repo} at {hub.address} ({kind}), branch {revision}:")
    for name, content in shared.files.items():
        typer.echo(f"  {name:15} {_measure(content):>10}")
    for sentence in describe_digests(shared.digests):
        typer.echo(f"Warning: {sentence}" if "carries" in sentence else f"  {sentence}", err=True)
    if dry_run:
        typer.echo("Nothing was uploaded.")
        return
    typer.echo(f"Uploaded: {hub.upload(repo, shared.files, private=private, revision=revision)}")


def pull(
    repo: Repo,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to; by default the repository's NAME.")
    ] = None,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit.")] = "main",
) -> None:
    """Fetch a model from the Hugging Face hub, or from that of HF_ENDPOINT, and verify it."""
    from threeages.hub.contents import CARD_FILE
    from threeages.hub.pull import pull_model
    from threeages.hub.remote import Hub

    pulled = pull_model(Hub(), repo, out or Path(repo.rpartition("/")[2]), revision)
    typer.echo(
        f"Written and verified: {pulled.folder} ({', '.join(pulled.files)}; commit {pulled.commit[:12]})"
    )
    if CARD_FILE in pulled.files:
        typer.echo(f"Terms of its weights: {pulled.folder / CARD_FILE}")
    else:
        typer.echo("Warning: it has no card: ask its owner what its terms are.", err=True)
    typer.echo(f"Use it: threeages predict PHOTOS --model {pulled.folder}")


def _measure(content: Path | bytes) -> str:
    from threeages.files.disk import format_bytes

    return format_bytes(content.stat().st_size if isinstance(content, Path) else len(content))
