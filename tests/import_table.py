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
from tests.import_rows import MODELS, row


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="models whose name has this")
    parser.add_argument("--images", type=image_count, metavar="N", help="images of each (all)")
    parser.add_argument("--no-fine-tuning", action="store_true", help="leave these rows out")
    add_pool(parser, what="rows in parallel")
    args = parser.parse_args()
    try:
        records = table(args.only, args.images, not args.no_fine_tuning, pool(args))
    except ResiduumError as error:
        raise SystemExit(f"residuum: {error}") from None
    except Interrupted as interrupted:
        raise SystemExit(f"residuum: interrupted; {interrupted}") from None
    shown = [{key: str(value) for key, value in record.items()} for record in records]
    print_records(shown, numbers=list(shown[0])[1:])
    write_report(build_folder() / "imports" / "table.json", records)


if __name__ == "__main__":
    main()
