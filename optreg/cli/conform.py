"""`optreg conform`: judge optimizers and schedules by their references, or alone."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import click

from optreg.cli.files import CannotBeWritten, OutputFile
from optreg.cli.output import table
from optreg.errors import printable
from optreg.registry import default_registry
from optreg.yaml_reader import read_text

NEEDED = ("hypothesis", "jinja2", "junitparser", "mpmath", "pyparsing")
"""What judging imports from the extra; only `parametrize_with_checks` needs pytest."""


@click.command("conform")
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--as", "like", metavar="PLUGIN", help="Judge a class, package.module:Class, by this plugin's reference.")
@click.option(
    "--reference",
    metavar="DATACLASS",
    help="Judge a class by a reference that is no plugin's, package.module:Dataclass.",
)
@click.option(
    "--param", "params", multiple=True, metavar="THEIRS=OURS", help="The class's own name for a hyperparameter."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="The value of what only the reference, or only the class, has.",
)
@click.option(
    "--trait", "traits", multiple=True, metavar="KEY=VALUE", help="Declare a trait: counter=group, decay=coupled."
)
@click.option("--strict", is_flag=True, help="Judge a class by what was asked for, whatever variant it is.")
@click.option("--device", default="cpu", show_default=True, help="The device of the parameters: cpu, cuda, cuda:1.")
@click.option("--tier", type=click.Choice(["must", "should", "info"]), default="must", show_default=True)
@click.option("-k", "select", metavar="EXPRESSION", help="Run only checks whose name matches: 'adamw-M or not P04'.")
@click.option("-n", "workers", metavar="NUM", type=click.IntRange(min=1), default=1, help="The number of processes.")
@click.option(
    "--limit",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Seconds of processor time allowed for each check.",
)
@click.option("--list", "listing", is_flag=True, help="List all checks without judging anything.")
@click.option("-v", "--verbose", is_flag=True, help="Report the finding of every check in full.")
@click.option("--json", type=OutputFile, metavar="FILE", help="Write the verdicts as JSON.")
@click.option("--junit", type=OutputFile, metavar="FILE", help="Write JUnit XML.")
@click.option("--html", type=OutputFile, metavar="FILE", help="Write an HTML page with every finding.")
def command(names: tuple[str, ...], **options: Any) -> None:
    """Judge NAME..., registered plugins or classes: with --as or --reference by a formula, without alone.

    Exit 0: every applicable check of the tier passed. 1: there are findings. 2: something could not be judged, or a
    report could not be written; the rest was judged.
    """
    if not names and not options["listing"]:
        raise click.UsageError("Missing argument 'NAME...'.")
    for needed in NEEDED:
        if not find_spec(needed):
            raise click.UsageError(f"judging needs {needed}: pip install 'optreg[conformance]'")
    from optreg.conformance.results.verdict import CannotBeJudged
    from optreg.conformance.running.pool import Pool
    from optreg.conformance.subjects.target import Target

    if options["like"] and options["reference"]:
        raise click.UsageError("--as and --reference are two formulas; a class is judged by one.")
    params = _pairs("--param", options["params"])
    settings = tuple((key, _value(value)) for key, value in _pairs("--set", options["settings"]))
    traits = tuple((key, _value(value)) for key, value in _pairs("--trait", options["traits"]))
    asked = {key: options[key] for key in ("like", "device", "reference", "strict")}
    targets = [Target(name, params=params, settings=settings, traits=traits, **asked) for name in dict.fromkeys(names)]
    selection = _selection(options["select"])
    default_registry()  # tells what is damaged of all that is installed; the workers are silent
    try:
        with Pool(options["workers"]) as pool:
            if options["listing"]:
                rows = [(str(check), check.tier.value, check.kind, check.claim) for check in pool.checks]
                table(("check", "tier", "of", "claim"), rows)
                code = 0
            else:
                code = _judge(pool, targets, selection, options)
    except CannotBeJudged as error:
        code = _refused([str(error)])
    click.get_current_context().exit(code)


def _judge(pool: Any, targets: list[Any], selection: Callable[[str], bool], options: dict[str, Any]) -> int:
    """Find out what the targets are, judge them as that, and report; returns the exit code."""
    from optreg.conformance.catalogue import Tier, of_tier
    from optreg.conformance.results.causes import causes
    from optreg.conformance.results.verdict import CannotBeJudged

    tier, limit = Tier(options["tier"]), options["limit"]
    checks = {check.id: check for check in pool.checks}
    described, refused = {}, {}
    cases = []
    for target in targets:
        try:
            subject = described[target.name] = _described(pool, target, limit)
        except CannotBeJudged as error:
            refused[target.name] = str(error)
            continue
        as_found = replace(target, found=subject["found"], mistakes=tuple(subject["mistakes"]))
        is_another = target.like and as_found.found
        cases += [
            (as_found, check)
            for check in of_tier(checks.values(), tier, subject["kind"])
            if selection(f"{target}-{check}") or (is_another and check.chapter == "Variants")
        ]
    if described and not cases:
        return _refused([*refused.values(), "no check matches"])
    verdicts = []
    for (target, _), verdict in zip(cases, _shown(pool.judge(cases, limit=limit), len(cases)), strict=True):
        if isinstance(verdict, CannotBeJudged):
            refused[target.name] = str(verdict)
        else:
            verdicts.append(verdict)
    found, subjects = causes(verdicts), [*described.values()]
    if subjects:
        _print_what_they_are(subjects, verdicts)
        _print_findings(found, verdicts, checks, options["verbose"])
        _print_summary(subjects, found, verdicts)
    written = _write(options, checks, subjects, refused, verdicts, found)
    judged = [] if options["select"] else [subject for subject in subjects if subject["name"] not in refused]
    too_few = _too_few(judged, verdicts, tier)
    for sentence in too_few:
        click.echo(sentence, err=True)
    if _refused(refused.values()) or not written:
        return 2
    return int(bool(too_few or found))


FINDING_OUT = 10.0
"""Seconds that it may take to find out which variant a class is."""


def _described(pool: Any, target: Any, limit: float) -> dict[str, Any]:
    """The description of a target, with what it is; a class that ends its process is judged as what was asked for."""
    from optreg.conformance.results.verdict import CannotBeJudged

    subject: dict[str, Any] = pool.describe(replace(target, strict=True), limit=limit)
    if target.like and not target.strict:
        try:
            subject = pool.describe(target, limit=min(limit, FINDING_OUT))
        except CannotBeJudged as error:
            subject["is"] = f"not found out: {error}"
    return subject


def _refused(reasons: Iterable[str]) -> int:
    """Print what could not be judged, and why; returns the exit code."""
    code = 0
    for reason in reasons:
        click.echo(printable(f"cannot be judged: {reason}"), err=True)
        code = 2
    return code


def _shown(verdicts: Iterable[Any], total: int) -> Iterable[Any]:
    """The verdicts, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(verdicts, "judging", total, console=console, transient=True, disable=not console.is_terminal)


def _write(
    options: dict[str, Any],
    checks: Mapping[str, Any],
    subjects: list[dict[str, Any]],
    refused: Mapping[str, str],
    verdicts: list[Any],
    found: list[Any],
) -> bool:
    """Write the reports that the options name; tells those that cannot be written, and returns whether all were."""
    from optreg.conformance.report import html_page
    from optreg.conformance.report.junit import junit_xml

    tier = options["tier"]
    data = {
        "tier": tier,
        "subjects": subjects,
        "refused": refused,
        "findings": [cause.as_dict() for cause in found],
        "verdicts": [verdict.as_dict() for verdict in verdicts],
    }
    reports: dict[str, Callable[[], str | bytes]] = {
        "json": lambda: json.dumps(data, indent=2) + "\n",
        "junit": lambda: junit_xml(checks, verdicts, found, refused),
        "html": lambda: html_page(subjects, [*checks.values()], verdicts, found, tier, refused),
    }
    written = True
    for option, made in reports.items():
        if options[option]:
            try:
                options[option].write(made())
            except CannotBeWritten as error:
                written = False
                error.show()
    return written


def _too_few(subjects: list[dict[str, Any]], verdicts: list[Any], tier: Any) -> list[str]:
    """One sentence for each subject to which too few checks apply."""
    from optreg.conformance.catalogue import floor
    from optreg.conformance.results.messages import too_few_message
    from optreg.conformance.results.verdict import Status

    sentences = []
    for subject in subjects:
        own = [verdict for verdict in verdicts if verdict.subject == subject["name"]]
        count = sum(verdict.status is not Status.NOT_APPLICABLE for verdict in own)
        least = floor(subject["kind"], tier, alone=subject["alone"])
        if count < least:
            sentences.append(too_few_message(subject["name"], tier, count, least))
    return sentences


def _selection(expression: str | None) -> Callable[[str], bool]:
    """The selection of `-k`; without it, everything."""
    from optreg.cli.selection import read_selection

    try:
        return read_selection(expression) if expression else lambda name: True
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="-k") from error


def _pairs(option: str, texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    for text in texts:
        if "=" not in text:
            raise click.BadParameter(f"'{text}' has no '='", param_hint=option)
    return tuple((key.strip(), value.strip()) for key, _, value in (text.partition("=") for text in texts))


def _value(text: str) -> Any:
    """A value as in a spec: `0.9`, `[0.8, 0.95]`, `group`."""
    value = read_text(text, text).data
    return list(value) if isinstance(value, tuple) else value


def _print_what_they_are(subjects: list[dict[str, Any]], verdicts: list[Any]) -> None:
    """Print which variant each class is; of one that is judged alone, what was found out, and what nobody answers."""
    for subject in subjects:
        if subject["is"]:
            click.echo(printable(f"{subject['name']}: {subject['is']}"))
        if subject["alone"]:
            open_questions = sum(verdict.unanswered for verdict in verdicts if verdict.subject == subject["name"])
            click.echo(f"{subject['name']}: judged alone: {open_questions} questions had no reference")
        for note in subject["notes"]:
            click.echo(printable(f"  found out: {note}"))


def _print_findings(found: list[Any], verdicts: list[Any], checks: dict[str, Any], verbose: bool) -> None:
    """Print the findings of each subject, one for each cause; with `verbose`, every check's too."""
    from optreg.conformance.results.messages import cause_message, finding_message

    def show(check: Any, message: str) -> None:
        click.echo(f"\n{click.style(str(check), bold=True)}{printable(message.removeprefix(str(check)))}")

    for name in dict.fromkeys(cause.lead.subject for cause in found):
        own = [cause for cause in found if cause.lead.subject == name]
        click.echo(f"\n{name}: {len(own)} finding{'s' if len(own) > 1 else ''}")
        for cause in own:
            show(checks[cause.lead.check], cause_message(checks[cause.lead.check], cause))
            for verdict in verdicts if verbose else ():
                if verdict.subject == name and verdict.check in cause.checks[1:]:
                    show(checks[verdict.check], finding_message(checks[verdict.check], verdict))
    click.echo()


def _print_summary(described: list[dict[str, Any]], found: list[Any], verdicts: list[Any]) -> None:
    """Print the number of checks with each status, one line for each subject."""
    statuses = ("passed", "failed", "crashed", "not applicable")
    rows = []
    for subject in described:
        own = [verdict for verdict in verdicts if verdict.subject == subject["name"]]
        counts = Counter(verdict.status.value for verdict in own)
        updates = sum(verdict.steps for verdict in own)
        findings = sum(cause.lead.subject == subject["name"] for cause in found)
        by = subject["by"]
        rows.append((subject["name"], by, *(counts[status] for status in statuses), len(own), findings, updates))
    table(("subject", "from", *statuses, "checks", "findings", "updates"), rows)
    for subject in described:
        if subject["taken"]:
            taken = ", ".join(f"{name}={value}" for name, value in subject["taken"].items())
            left = f"; of its own arguments, {', '.join(subject['left'])} kept the default" if subject["left"] else ""
            click.echo(f"note: {subject['name']} does not have what it was judged with: {taken}{left}", err=True)
        if subject["extra"]:
            extra = ", ".join(f"{name}={value}" for name, value in subject["extra"].items())
            formula = subject["like"] or subject["reference"]
            click.echo(f"note: {subject['name']} was made with {extra}, which {formula} does not have", err=True)
