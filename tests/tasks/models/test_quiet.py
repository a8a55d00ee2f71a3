"""Only what lasts, and what is ours, is drawn on a person's screen."""

import io

import pytest
from tqdm import tqdm

from tasks.compress.folder import Source
from tasks.compress.quantize import Awq
from tasks.models.load import load
from tasks.models.quiet import patient_bars
from tasks.models.testing import CORPUS


def draw(**how) -> str:
    screen = io.StringIO()
    bar = tqdm(range(3), desc="busy", file=screen, mininterval=0, miniters=1, **how)
    for n in bar:
        bar.set_postfix(n=n)  # which draws a bar at once, as AWQ's search does
    return screen.getvalue()


def test_a_short_bar_of_a_library_is_not_drawn_and_bars_come_back():
    with patient_bars():
        assert draw() == ""
        assert draw(delay=0, leave=True) == ""
    assert "busy: 100%" in draw()


def test_a_bar_that_outlasts_our_patience_is_drawn_and_wiped():
    with patient_bars(seconds=0):
        drawn = draw()
    assert "busy: 100%" in drawn
    assert drawn.endswith("\r")


def test_bars_come_back_after_an_error():
    with pytest.raises(RuntimeError), patient_bars():
        raise RuntimeError
    assert "busy" in draw()


def test_quantizing_and_loading_draw_nothing(folder, tmp_path, capfd):
    source = Source(folder("llama"), CORPUS, tmp_path)
    capfd.readouterr()  # Writing the model that the test begins with may be drawn.
    Awq(bits=8, group_size=None, grid=3, sequence_length=32).apply(source)
    source.copy_rest()
    load(tmp_path, device="cpu")
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
