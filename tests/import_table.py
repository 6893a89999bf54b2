"""Published models imported without training: ``make imports`` prints their accuracy as a table.

Each row (`tests.import_rows`) is a piece of work, whose result is kept.
"""

import argparse
from typing import Any

from residuum.commands.arguments import add_pool, image_count, pool
from residuum.commands.console import ConsoleReporter, write_report
from residuum.commands.tables import print_records
from residuum.sw.errors import ResiduumError
from residuum.sw.files import build_folder, digest_of_file
from residuum.sw.pieces.run import Interrupted, Piece, Pool, run
from tests.import_rows import MODELS, ON_ENGINE, engine_row, page_row, row, spiking_row


def table(names: str, images: int | None, fine_tune: bool, where: Pool) -> list[dict[str, Any]]:
    """One record per row, in the order of `MODELS`; ``names`` is a part of the models' names."""
    pieces = []
    for model in MODELS:
        if names.lower() not in model.name.lower():
            continue
        digest = digest_of_file(model.path)
        for options, goal in model.rows:
            if options.fine_tune and not fine_tune:
                continue
            given = {"name": model.name, "options": options, "goal": goal, "images": images}
            title = f"{model.name}, {options.bits} bits"
            pieces.append(Piece(row, given | {"digest": digest}, title))
    return run(pieces, where, title="imports", unit="rows", reporter=ConsoleReporter())


def on_engine_table(names: str, images: int, where: Pool) -> list[dict[str, Any]]:
    """The same on the simulated engine: one record per network of `ON_ENGINE`, of the spiking
    network, and of the network of docs/own-model.md."""
    models = {model.name: model for model in MODELS}
    pieces = []
    for name, options, lanes, sdram in ON_ENGINE:
        digest = digest_of_file(models[name].path)
        given = {"name": name, "options": options, "lanes": lanes, "images": images}
        given["sdram"] = sdram
        title = f"{name}, {options.bits} bits"
        pieces.append(Piece(engine_row, given | {"digest": digest}, title))
    spiking = models["CNN, MNIST"].path.with_name("cnn_sinabs.nir")
    given = {"path": str(spiking), "images": images, "digest": digest_of_file(spiking)}
    pieces.append(Piece(spiking_row, given, spiking.stem))
    pieces.append(Piece(page_row, {"images": images}, "docs/own-model.md"))
    chosen = [piece for piece in pieces if names.lower() in piece.name.lower()]
    return run(chosen, where, title="imports", unit="rows", reporter=ConsoleReporter())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="models whose name has this")
    parser.add_argument("--images", type=image_count, metavar="N", help="images of each (all)")
    parser.add_argument("--rtl", action="store_true", help="on the simulated engine (20 images)")
    parser.add_argument("--no-fine-tuning", action="store_true", help="leave these rows out")
    add_pool(parser, what="rows in parallel")
    args = parser.parse_args()
    try:
        if args.rtl:
            records = on_engine_table(args.only, args.images or 20, pool(args))
        else:
            records = table(args.only, args.images, not args.no_fine_tuning, pool(args))
    except ResiduumError as error:
        raise SystemExit(f"residuum: {error}") from None
    except Interrupted as interrupted:
        raise SystemExit(f"residuum: interrupted; {interrupted}") from None
    shown = [{key: str(value) for key, value in record.items()} for record in records]
    print_records(shown, numbers=list(shown[0])[1:])
    write_report(build_folder() / "imports" / ("rtl.json" if args.rtl else "table.json"), records)
    if args.rtl and any(record["mismatches"] for record in records):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
