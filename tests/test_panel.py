"""The training panel without a browser: what it shows, and what its buttons do."""

import asyncio
import re

import pytest

import icotlib as icot
from icotlib.errors import DataError
from icotlib.running.background import Progress, Training
from icotlib.widgets import panel
from icotlib.widgets.panel import Panel


class Played(Training):
    """A training whose runs stand as a test wants, and that counts what it is asked for."""

    def __init__(self, config):
        super().__init__(config)
        self.name = config.run_name
        self.stand, self.asked_for = "not started", []
        self.start = lambda: self.asked_for.append("start")
        self.pause = lambda: self.asked_for.append("pause")
        self.stop = lambda: self.asked_for.append("stop")

    @property
    def active(self):
        return self.stand in ("waiting", "training", "pausing")

    @property
    def progress(self):
        return [Progress(self.name, self.stand, 120, 1200, 0.25, 0.5, 3, 8, 90.0)]


@pytest.fixture
def played(runs_folder, tiny):
    return Played(tiny)


def enabled(shown: Panel) -> list[str]:
    return [x.description for x in (shown.start, shown.pause, shown.stop) if not x.disabled]


def test_buttons_offer_what_can_be_done(played):
    shown = Panel(played)
    for stand, offered in {
        "not started": ["Start"],
        "waiting": ["Pause", "Stop"],
        "training": ["Pause", "Stop"],
        "pausing": ["Stop"],
        "paused": ["Resume"],
        "failed": ["Start"],
        "finished": [],
    }.items():
        played.stand = stand
        shown.refresh()
        assert enabled(shown) == offered, stand
        assert stand in shown.table.value
        assert stand in shown.said.value


def test_buttons_do_what_they_say(played):
    shown = Panel(played)
    for button in (shown.start, shown.pause, shown.stop):
        button.click()
        assert button.tooltip.startswith(button.description)
    assert played.asked_for == ["start", "pause", "stop"]


def test_the_table_is_read_by_everybody(played):
    played.stand = "training"
    shown = Panel(played).table.value
    cells = re.findall(r"<td[^>]*>(.*?)</td>", shown)
    assert [re.sub("<.*?>", "", cell).strip() for cell in cells] == [
        *("120 of 1,2002 min left", "0.250", "50.0%", "3 of 8")
    ]
    [name] = re.findall(r'<th scope="row".*?</th>', shown)
    assert re.sub("<.*?>", " ", name).split() == ["one_model-mult-2x2-s0", "▶", "training"]
    assert shown.count('scope="col"') == len(panel.COLUMNS)
    assert re.search(r'<progress max="1200" value="120" aria-label="steps of one_model', shown)


def test_what_goes_wrong_is_said_and_not_raised(played):
    def fail():
        raise DataError("no file <x>")

    played.start = fail
    shown = Panel(played)
    shown.start.click()
    assert 'role="alert"' in shown.said.value
    assert "no file &lt;x&gt;" in shown.said.value


def test_a_finished_run_is_shown_with_its_curves(tiny_run, tiny):
    shown = Panel(Training(tiny))
    assert enabled(shown) == []
    assert "<img alt=" in shown.curves.value
    assert "12 of 12" in shown.table.value
    shown.training.__class__ = Lingering  # its process takes a moment to end
    shown.refresh()
    assert enabled(shown) == []


class Lingering(Training):
    active = True


def test_where_nobody_watches_there_is_a_table(runs_folder, tiny):
    [row] = icot.training_panel(tiny).to_dict("records")
    assert (row["state"], row["step"], row["steps"]) == ("not started", 0, 12)


def test_a_panel_stays_fresh_until_another_one_of_the_same_runs(played, monkeypatch):
    monkeypatch.setattr(panel, "EVERY", 0.01)

    async def opened() -> None:
        first = Panel(played)
        played.stand = "training"
        await asyncio.sleep(0.1)
        assert "training" in first.said.value
        second = Panel(played)
        played.stand = "paused"
        await asyncio.sleep(0.1)
        assert "paused" in second.said.value
        assert "paused" not in first.said.value
        first.start.click()  # which takes it back
        played.stand = "testing"
        await asyncio.sleep(0.1)
        assert "testing" in first.said.value

    asyncio.run(opened())


def test_a_panel_with_nothing_to_show_waits_for_a_click(played, monkeypatch):
    monkeypatch.setattr(panel, "EVERY", 0)
    monkeypatch.setattr(panel, "IDLE", 3)

    async def opened() -> None:
        shown = Panel(played)
        [(_, first)] = panel._fresh.values()
        await asyncio.wait_for(first, 60)
        await asyncio.sleep(0)  # what is to be done once it has ended
        assert not panel._fresh
        played.stand = "training"
        shown.start.click()
        [(_, again)] = panel._fresh.values()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not again.done()
        shown.pause.click()
        assert [task for _, task in panel._fresh.values()] == [again]
        shown.box.close()
        await asyncio.wait_for(again, 60)
        await asyncio.sleep(0)
        assert not panel._fresh

    asyncio.run(opened())
