"""The panel's loop: what happens when the page's clock ticks, when it stops, and when the page echoes.

Every answer to the page belongs to one of its messages. What takes longer than a message may, a slow step or the
loading of an encoder, goes on in a thread, and the next message takes what has come.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..engine.evaluation import Evaluation
from ..errors import NSTError
from .background import Task
from .controls import playing_trait
from .session import StyleSession
from .view import PanelView
from .words import capital, in_the_panels_words, summary

__all__ = ["PanelLoop", "reports_errors"]

PATIENCE = 0.4  # seconds that a message waits for work; a knob waits as long, and each message costs time itself
CHART_EVERY = 0.6  # seconds between two drawings of the chart
UNDER_WAY = "One step is under way."

P = ParamSpec("P")
L = TypeVar("L", bound="PanelLoop")


def reports_errors(handler: Callable[Concatenate[L, P], None]) -> Callable[Concatenate[L, P], None]:
    """A handler whose errors become a sentence in the panel: in the log nobody would find them."""

    @functools.wraps(handler)
    def safe(self: L, *args: P.args, **options: P.kwargs) -> None:
        self.attempt(functools.partial(handler, self, *args, **options))

    return safe


class PanelLoop(PanelView):
    """A view that paints."""

    def __init__(self, session: StyleSession, *, target: Mapping[str, float] | None, chunk: float) -> None:
        self.chunk, self.closed, self.loading = chunk, False, ""
        self._under_target = False
        self._busy, self._queueing = threading.Lock(), threading.Lock()
        self._painter = ThreadPoolExecutor(1, "nst-panel")
        self._steps: Future[list[Evaluation]] | None = None
        self._tasks: list[tuple[Task[Any], Callable[[Task[Any]], None]]] = []
        self._was_running, self._paused_at = False, -1
        self._later: list[Callable[[], None] | dict[str, Any]] = []  # actions, and changes of settings
        super().__init__(session, target=target)
        clock = self.parts.clock
        clock.observe(self._tick, "value")
        clock.observe(self._started_or_paused, playing_trait(clock))
        self.parts.echo.observe(self._echoed, "value")

    def attempt(self, action: Callable[[], None]) -> None:
        """Do something; an error of it becomes a sentence, and the controls show again what the session holds."""
        if self.closed:
            return
        try:
            action()
        except KeyboardInterrupt:
            self.pause()
            self.say("Interrupted, and nothing is lost: press play to go on.")
        except (NSTError, ValueError) as error:
            self.pull()
            self.say(in_the_panels_words(str(error)), "bad")
        except Exception as error:
            self.pause()
            self.say(f"Stopped by a fault in the program: {type(error).__name__}: {error}", "bad")

    def pause(self) -> None:
        """Stop the clock."""
        if self.running:
            setattr(self.parts.clock, playing_trait(self.parts.clock), False)

    def step(self, count: int) -> None:
        """Make so many steps and show them, at once or when they are done."""
        with self._busy:
            if self._steps is not None and not self._take_steps():
                self.say("A step is under way already.")
                return
            self._catch_up()
            self.say(UNDER_WAY)
            self._steps = self._painter.submit(self.session.step, count)
            wait([self._steps], PATIENCE)
            if not self._take_steps() and not self.running:
                self.ask_for_an_echo()

    def load(self, name: str) -> None:
        """Load an encoder while the painting goes on, and change to it when it has come."""
        self.loading = name
        self.in_background(functools.partial(self.session.load_encoder, name), functools.partial(self._loaded, name))
        self.say(f"Loading the encoder {name}; until it has come, {self.session.settings.encoder} goes on.")

    def in_background(self, work: Callable[[], Any], then: Callable[[Task[Any]], None]) -> None:
        """Do some work in a thread of its own; a later message of the page does `then`, which is given the task."""
        self._tasks.append((Task(work), then))
        self.ask_for_an_echo()

    def stop(self) -> None:
        """Pause for good: the thread ends with the step that it makes."""
        self.pause()
        with self._busy:
            self._painter.shutdown()

    def _tick(self, change: Mapping[str, Any]) -> None:
        # The stop button of ipywidgets 7 sends the smallest value. The page may send a last number together with the
        # news that it has paused. A message that overlaps another's work is dropped.
        last = change["new"] in (self.parts.clock.min, self._paused_at) or (self._was_running and not self.running)
        if last or not self._busy.acquire(blocking=False):
            return
        try:
            self._paint()
        finally:
            self._busy.release()

    @reports_errors
    def _paint(self) -> None:
        self._take_results()
        if self._steps is None:
            self._catch_up()
            self._steps = self._painter.submit(self.session.step, seconds=self.chunk)
        wait([self._steps], max(PATIENCE, self.chunk))
        self._take_steps(chart=time.monotonic() - self._charted > CHART_EVERY)

    def _take_steps(self, *, chart: bool = True) -> bool:
        """Show the steps that were made in the meantime; returns whether none are under way."""
        if self._steps is None:
            return True
        if not self._steps.done():
            return False
        steps, self._steps = self._steps, None
        try:
            evaluations = steps.result()
        except BaseException:
            self.pause()
            raise
        self.pace.done(len(evaluations))
        self.show(chart=chart)
        if self.status == UNDER_WAY:
            self.say(f"One step: {summary(self.session.losses)}.")
        self._comment(evaluations)
        self._catch_up()
        return True

    def _comment(self, evaluations: list[Evaluation]) -> None:
        """Say what a person should know of some evaluations: a blown-up loss, a target reached."""
        if self.session.stuck:
            self.pause()
            self.say("The loss has exploded too often: change a weight or the step size, then press play.", "bad")
        elif events := [e.event for e in evaluations if "back to the best image" in e.event]:
            self.say(f"Guarded: {events[-1]}.", "bad")
        before, self._under_target = self._under_target, self.reached()
        if self._under_target and not before:
            losses = self.session.losses
            words = summary(losses, step=False)
            self.say(f"Target reached at step {losses['step']}: {words}. Take a snapshot.", "good")

    @reports_errors
    def _started_or_paused(self, _: Any) -> None:
        self._was_running, self._paused_at = self.running, -1 if self.running else self.parts.clock.value
        self.pace.rest()
        if self._steps is None or self._steps.done():
            self._take_steps()
            self.show()
        else:
            self.entitle()  # the picture comes when the step that is under way is done
        if self.status.startswith(("Press play", "Paused", "Painting", "Interrupted")):
            self.say("Painting: turn any knob." if self.running else f"Paused: {summary(self.session.losses)}.")
        if not self.running and (self._steps or self._later or self._tasks or self.estimate is None):
            self.ask_for_an_echo()

    def _echoed(self, change: Mapping[str, Any]) -> None:
        """Go on with what waits, now that the page has sent a message: a step, work in a thread, the measurement.

        Each takes a fraction of a second and has the page ask for more, so a knob is heard in between. While it paints,
        the clock's own messages do this, and the measurement waits: the painting's own pace tells the time.
        """
        if self.closed or self.running or change["new"] != self.parts.echo.step:
            return
        self._go_on()

    @reports_errors
    def _go_on(self) -> None:
        if self._steps is not None:
            wait([self._steps], PATIENCE)
            if self._take_steps() and self.status.startswith("Paused"):
                self.say(f"Paused: {summary(self.session.losses)}.")
            self.ask_for_an_echo()
        elif self._later:
            self._catch_up()
            self.ask_for_an_echo()
        elif self._tasks:
            self._tasks[0][0].wait(PATIENCE)
            self.ask_for_an_echo()
            self._take_results()
        elif self.estimate is None:
            # An estimate that can't be had is no matter for the person: the line is left out.
            with contextlib.suppress(Exception, KeyboardInterrupt), self._busy:
                if self.look_ahead(self.chunk / 2):
                    self.entitle()
                else:
                    self.ask_for_an_echo()

    def _take_results(self) -> None:
        """Go on with the work in threads that is done; nothing while all of it is under way."""
        for task, then in [entry for entry in self._tasks if entry[0].done]:
            self._tasks.remove((task, then))
            then(task)

    def _loaded(self, name: str, loader: Task[None]) -> None:
        """Take over an encoder that has come, or say why it hasn't."""
        if self.loading == name:
            self.loading = ""
        if self.parts.encoder.value == name:  # else a person has chosen another meanwhile
            loader.result()
            self.set(encoder=name)

    def when_free(self, action: Callable[[], None], what: str) -> None:
        """Do it now, or where a step takes long, once that is done; `what` begins the sentence that says so."""
        with self.session.between_steps(patience=0.0 if self._later else PATIENCE) as free:
            if free:
                self._catch_up()
                action()
                return
        self._later.append(action)
        self._say_that_it_waits(what)

    def set(self, **changes: Any) -> None:
        """Change settings or pictures of the session, show what follows, and say so; in a long step, after it."""
        with self.session.between_steps(patience=0.0 if self._later else PATIENCE) as free:
            if free:
                self._catch_up()
                self._set(changes)
                return
        with self._queueing:
            if self._later and isinstance(last := self._later[-1], dict):  # a slider that is being dragged
                layers = {**last.get("layer_weights", {}), **changes.get("layer_weights", {})}
                last.update(changes, **({"layer_weights": layers} if layers else {}))
            else:
                self._later.append(changes)
        self._say_that_it_waits(capital(", ".join(name.replace("_", " ") for name in changes)))

    def _say_that_it_waits(self, what: str) -> None:
        self.say(f"{what}: as soon as the step that is under way is done.")
        if not self.running:
            self.ask_for_an_echo()

    def _catch_up(self) -> None:
        """Do what has waited for a step to end, in the order in which it came."""
        with self.session.between_steps(patience=PATIENCE) as free:
            while free and self._later:
                with self._queueing:
                    action = self._later.pop(0)
                if isinstance(action, dict):
                    self._set(action)
                else:
                    action()

    def _set(self, changes: Mapping[str, Any]) -> None:
        words = self.session.set(**changes)
        if not words:
            return
        if set(changes) - {"content_weight", "style_weight", "tv_weight", "layer_weights", "lr"}:
            self.pull()
            self.show()
        self._shown_settings = self.session.settings
        self.say(f"{capital(words)}.")
