"""A report as one page of HTML: offline, without scripts, for the screen in light and dark and for paper."""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from threeages.errors import MissingDependencyError
from threeages.evaluation.age_thresholds import describe_missing
from threeages.evaluation.enough import IMAGE, TOO_FEW
from threeages.evaluation.front_matter import remove_front_matter
from threeages.evaluation.report_parts import Report
from threeages.evaluation.slices import MIN_IDENTITIES, SLICE_METRICS
from threeages.evaluation.tables import METRIC_TITLES, describe_interval, format_interval, format_number
from threeages.labels import AGE_GROUPS

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

HEADLINE = ("accuracy", "balanced_accuracy", "f1_macro", "ece")
TEMPLATE = "report.html"
# what draws on white and has no place on a page that may be dark
BLACK = re.compile(r"#(?:000000|1f2937|6b7280)")
IDS = re.compile(r'<g id="[^"]*"')  # the same in every picture


def render_report(report: Report) -> str:
    """The page; MissingDependencyError without jinja2. Without matplotlib it says that pictures are absent.

    Every text is escaped, and no address is loaded: pictures are part of the page.
    """
    pictures, no_pictures = _draw(report)
    return (
        _create_environment()
        .get_template(TEMPLATE)
        .render(
            report=report,
            result=report.evaluation,
            pictures=pictures,
            no_pictures=no_pictures,
            card=_render_markdown(report.card),
            headline=HEADLINE,
            titles=METRIC_TITLES,
            slice_metrics=SLICE_METRICS,
            describe_interval=describe_interval,
            describe_missing=describe_missing,
            too_few=TOO_FEW,
            least_units=MIN_IDENTITIES,
            units_name="images" if report.evaluation.unit == IMAGE else "identities",
            groups=AGE_GROUPS,
            today=date.today().isoformat(),
            version=version("threeages"),
        )
    )


def _create_environment() -> "Environment":
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingDependencyError("jinja2", "report") from error
    environment = Environment(
        loader=PackageLoader("threeages.evaluation", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "number": format_number,
        "interval": format_interval,
        "percent": _format_percent,
        "count": lambda value: f"{value:,}",
        "setting": _format_setting,
    }
    environment.tests["finite"] = math.isfinite
    return environment


def _format_percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %" if math.isfinite(value) else "not defined"


def _format_setting(value: Any) -> str:
    """A value of a config.json as text: a mapping as its names and values."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_format_setting(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_format_setting, value))
    return {None: "not set", True: "yes", False: "no", "": "not set"}.get(value, str(value))


def _render_markdown(text: str) -> str:
    """HTML of a card; HTML within it is shown as text. The front matter of a hub is left out."""
    if not text:
        return ""
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise MissingDependencyError("markdown-it-py", "report") from error
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    return str(parser.render(remove_front_matter(text)))


def _draw(report: Report) -> tuple[dict[str, str], str]:
    """Pictures as SVG by name, and why there are none."""
    from threeages.evaluation import plots

    result = report.evaluation
    history = report.run.history if report.run else ()
    wanted: dict[str, tuple[Callable[[Sequence[Mapping[str, float]]], Figure], Any]] = {
        "reliability": (plots.plot_reliability, result.reliability),
        "risk_coverage": (plots.plot_risk_coverage, result.risk_coverage),
        "curves": (plots.plot_curves, history),
    }
    try:
        return {name: draw_svg(plot(data)) for name, (plot, data) in wanted.items() if data}, ""
    except MissingDependencyError as error:
        return {}, f"No pictures: {error.message} {error.hint}"


def draw_svg(figure: "Figure") -> str:
    """The figure as an SVG element without a background, whose black is the colour of the text around it."""
    from matplotlib import rc_context

    drawn = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "threeages"}):
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    text = drawn.getvalue()
    return IDS.sub("<g", BLACK.sub("currentColor", text[text.index("<svg") :]))
