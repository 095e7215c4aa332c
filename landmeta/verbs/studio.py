"""`landmeta studio`: label, adapt and look, on a page in the browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from landmeta.errors import ConfigError
from landmeta.verbs.options import BandNames, name_list


def studio(
    raster: Annotated[Path, typer.Argument(help="The image to label and map.")],
    checkpoint: Annotated[
        Path, typer.Option("--checkpoint", "-c", help="Written by landmeta train.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder that labels, model and map are kept in; found again next time.",
            show_default="NAME_studio beside the image",
        ),
    ] = None,
    bands: BandNames = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
) -> None:
    """A page on this machine: draw labels, adapt, see the map, label where it is unsure."""
    try:
        import rio_tiler  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise ConfigError(
            f"the studio needs {error.name}, which is not installed",
            remedy="pip install 'landmeta[studio]'",
        ) from error
    from landmeta.studio.server import Studio, listen, new_token
    from landmeta.studio.workshop import Workshop

    console = Console(markup=False, highlight=False, soft_wrap=True)
    folder = out or raster.with_name(f"{raster.stem}_studio")
    workshop = Workshop(raster, checkpoint, folder, names=name_list(bands))
    token = new_token()
    studio = Studio(workshop, token)
    with listen(port) as socket:
        address = f"http://127.0.0.1:{socket.getsockname()[1]}/{token}/"
        console.print(f"open {address}")
        console.print("stop it with Ctrl+C; what you label is kept in " + str(folder))
        if browser:
            webbrowser.open(address)
        config = uvicorn.Config(studio.app(), log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[socket])
    studio.jobs.cancel()
    studio.jobs.wait()
