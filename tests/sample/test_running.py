"""What a run does besides sampling: where it keeps compiled programs, how it stops, what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import pytest

from dreamlayer_jax.cli.compilation_cache import SIZES, drop_damaged
from dreamlayer_jax.cli.main import main
from dreamlayer_jax.cli.terminal import printable

REPOSITORY = Path(__file__).resolve().parents[2]


def test_entries_cut_short_are_dropped_from_the_compilation_cache(tmp_path: Path) -> None:
    whole = zlib.compress(os.urandom(1000))
    for name in ("a-cache", "b-cache"):
        (tmp_path / name).write_bytes(whole)
    drop_damaged(tmp_path)
    assert json.loads((tmp_path / SIZES).read_text()) == {"a-cache": len(whole), "b-cache": len(whole)}
    (tmp_path / "a-cache").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c-cache").write_bytes(whole[:-1])  # by a process that was killed
    (tmp_path / SIZES).write_text('{"b-cache": "x"}')
    drop_damaged(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b-cache", SIZES]


def test_a_cache_of_another_jaxlib_is_another_folder(tmp_path: Path) -> None:
    program = """
        import jax, jaxlib
        from dreamlayer_jax.cli.compilation_cache import use_compilation_cache
        use_compilation_cache()
        print(jax.config.jax_compilation_cache_dir, jaxlib.__version__)
    """
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=REPOSITORY, env=environment | {"XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    cache, version = done.stdout.split()
    assert cache == str(tmp_path / "dreamlayer_jax" / f"xla-{version}")


STOPPED = """
    import sys, threading
    import jax, jax.numpy as jnp
    from dreamlayer_jax.cli import main
    from dreamlayer_jax.cli.export import Export
    def computes_then_stops(_):
        jax.jit(lambda x: jax.lax.fori_loop(0, 10**6, lambda _, y: jnp.sin(y), x))(jnp.ones(1000))  # not waited for
        raise KeyboardInterrupt
    Export.run = computes_then_stops
    sys.argv = ["dreamlayer", "export", "scene", "--out", "a.psd"]
    main.console()
"""


def test_a_stopped_program_ends_with_130_while_xla_still_computes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(STOPPED)], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stderr) == (130, "stopped; nothing was written\n")


def test_a_tilde_that_the_shell_leaves_alone_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["export", "~/scene", "--out=~/a.psd"]) == 1
    assert f"{tmp_path / 'scene'} is no scene folder" in capsys.readouterr().err


def test_escapes_of_a_scene_do_not_reach_the_terminal(tmp_path: Path, capsys) -> None:
    (tmp_path / "scene.json").write_text(json.dumps({"format": 1, "layers": "\x1b[31mred"}))
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "a.psd")]) == 1
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "x1b[31mred" in said
    assert printable("a\x1b[2J\u202eb\n犬") == "a\\x1b[2J\\u202eb\n犬"


PLAIN_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_overwriting_works_in_a_locale_without_utf8(tmp_path: Path) -> None:
    program = """
        import sys
        from pathlib import Path
        from dreamlayer_jax.files import new_folder, write_json
        for _ in range(2):
            with new_folder(Path(sys.argv[1]), overwrite=True) as folder:
                write_json(folder / "scene.json", {"prompt": "\\u044f\\u0431\\u043b", "files": []})
        from dreamlayer_jax.cli.terminal import any_character_can_be_said, say
        any_character_can_be_said()
        say("\\u044f\\u0431\\u043b")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "s")], cwd=REPOSITORY, env=os.environ | PLAIN_LOCALE,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "s" / "scene.json").read_bytes())["prompt"] == "ябл"
