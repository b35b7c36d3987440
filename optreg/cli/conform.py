"""`optreg conform`: judge optimizers and schedules by their references."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import click

from optreg.cli.output import table
from optreg.yaml_reader import read_text


@click.command("conform")
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--as", "like", metavar="PLUGIN", help="Judge a class, package.module:Class, by this plugin's reference.")
@click.option("--param", "params", multiple=True, metavar="THEIRS=OURS", help="The class's name of a hyperparameter.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="What a hyperparameter it lacks stands for."
)
@click.option(
    "--trait", "traits", multiple=True, metavar="KEY=VALUE", help="A declaration: counter=group, decay=coupled."
)
@click.option("--tier", type=click.Choice(["must", "should", "info"]), default="must", show_default=True)
@click.option("-k", "select", metavar="EXPRESSION", help="Only checks whose name matches, as for pytest.")
@click.option("-n", "workers", metavar="NUM", help="Run in so many processes.")
@click.option("--limit", type=click.FloatRange(min=0.1), default=60.0, show_default=True, help="Seconds for a check.")
@click.option("--list", "listing", is_flag=True, help="Tell all checks, and judge nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Tell every finding in full.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write verdicts as JSON.")
@click.option("--junit", type=click.Path(dir_okay=False), help="Write JUnit XML.")
@click.option("--html", type=click.Path(dir_okay=False), help="Write a page with every finding.")
def command(names: tuple[str, ...], **options: Any) -> None:
    """Judge NAME..., registered plugins, or classes with --as.

    Exit 0: all that applies in the tier passed. 1: there are findings. 2: something could not be judged; what could be
    judged was.
    """
    if not names and not options["listing"]:
        raise click.UsageError("Missing argument 'NAME...'.")
    try:
        import mpmath  # noqa: F401
        import pytest
    except ImportError as error:
        raise click.UsageError(f"judging needs {error.name}: pip install 'optreg[conformance]'") from error
    from optreg.conformance.collector import Collector
    from optreg.conformance.isolation import isolation
    from optreg.conformance.results.verdict import CannotBeJudged
    from optreg.conformance.subjects.target import Target

    sys.path.insert(0, os.getcwd())
    params = _pairs("--param", options["params"])
    settings = tuple((key, _value(value)) for key, value in _pairs("--set", options["settings"]))
    traits = tuple((key, _value(value)) for key, value in _pairs("--trait", options["traits"]))
    asked = [Target(name, options["like"], params, settings, traits) for name in dict.fromkeys(names)]
    targets, described, refused = [], [], {}
    try:
        worker = isolation()
        if options["listing"]:
            table(("check", "tier", "of", "claim"), [(str(c), c.tier.value, c.kind, c.claim) for c in worker.checks])
            return
    except CannotBeJudged as error:
        _refuse([str(error)])
    for target in asked:
        try:
            described.append(worker.describe(target, limit=options["limit"]))
            targets.append(target)
        except CannotBeJudged as error:
            refused[target.name] = str(error)
    if not targets:
        _refuse(refused.values())
    collector = Collector()
    code = pytest.main(_pytest_arguments(targets, options), plugins=[collector])
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        reason = "no check matches" if code is pytest.ExitCode.NO_TESTS_COLLECTED else f"pytest ended with {code!r}"
        _refuse([*refused.values(), reason])
    verdicts = collector.verdicts
    _tell(verdicts, {check.id: check for check in worker.checks}, options["verbose"])
    _summary(described, verdicts)
    if options["json_file"]:
        data = {
            "tier": options["tier"],
            "subjects": described,
            "refused": refused,
            "verdicts": [verdict.as_dict() for verdict in verdicts],
        }
        Path(options["json_file"]).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    if options["html"]:
        from optreg.conformance.report import write_html

        write_html(Path(options["html"]), described, worker.checks, verdicts, options["tier"], refused)
    thin = [] if options["select"] else _too_few(targets, described, verdicts, options["tier"])
    for sentence in thin:
        click.echo(sentence, err=True)
    if refused:
        _refuse(refused.values())
    sys.exit(int(code is pytest.ExitCode.TESTS_FAILED or bool(thin)))


def _refuse(reasons: Iterable[str]) -> NoReturn:
    """Say what could not be judged, and why; and exit."""
    for reason in reasons:
        click.echo(f"cannot be judged: {reason}", err=True)
    sys.exit(2)


def _too_few(targets: list[Any], described: list[dict[str, Any]], verdicts: list[Any], tier: str) -> list[str]:
    """What is to be said of subjects to which too few checks apply."""
    from optreg.conformance.cases import too_few
    from optreg.conformance.catalogue import FLOORS, Tier
    from optreg.conformance.results.verdict import Status

    sentences = []
    for target, subject in zip(targets, described, strict=True):
        own = [verdict for verdict in verdicts if verdict.subject == target.name]
        count = sum(verdict.status is not Status.NOT_APPLICABLE for verdict in own)
        floor = FLOORS[subject["kind"]][Tier(tier)]
        if count < floor:
            sentences.append(too_few(target, Tier(tier), count, floor))
    return sentences


def _pairs(option: str, texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    for text in texts:
        if "=" not in text:
            raise click.BadParameter(f"'{text}' has no '='", param_hint=option)
    return tuple((key.strip(), value.strip()) for key, _, value in (text.partition("=") for text in texts))


def _value(text: str) -> Any:
    """A value as a spec would have it: `0.9`, `[0.8, 0.95]`, `group`."""
    value = read_text(text, text).data
    return list(value) if isinstance(value, tuple) else value


def _pytest_arguments(targets: list[Any], options: dict[str, Any]) -> list[str]:
    """The arguments of a run that knows nothing of the configuration of the folder it is started in."""
    tests = Path(__file__).parent.parent / "conformance" / "test_subjects.py"
    arguments = [
        *("-p", "optreg.conformance.plugin", "-p", "no:cacheprovider"),
        *("-c", os.devnull, "--rootdir", str(tests.parent), "--import-mode=importlib"),
        *("-q", "--no-header", "--tb=no", "-rN", "--color=auto", "--show-capture=no"),
        *("--optreg-targets", json.dumps([target.as_dict() for target in targets])),
        *("--optreg-tier", options["tier"], "--optreg-limit", str(options["limit"])),
        str(tests),
    ]
    if options["select"]:
        arguments += ["-k", options["select"]]
    if options["workers"]:
        arguments += ["-n", options["workers"]]
    if options["junit"]:
        arguments += ["--junitxml", options["junit"]]
    return arguments


IN_FULL = 1
"""How many findings of a subject are told in full, unless all are asked for: one fault makes many findings."""


def _tell(verdicts: list[Any], checks: dict[str, Any], verbose: bool) -> None:
    """The findings, by subject: all in a line each, the most telling in full."""
    for name in dict.fromkeys(verdict.subject for verdict in verdicts if verdict.finding):
        own = [verdict for verdict in verdicts if verdict.subject == name and verdict.finding]
        own.sort(key=lambda verdict: not (verdict.finding.likely or "").startswith("matches"))  # a cause was found out
        click.echo(f"\n{name}: {len(own)} finding{'s' if len(own) > 1 else ''}")
        for verdict in own if verbose else own[:IN_FULL]:
            check = checks[verdict.check]
            click.echo(f"\n{click.style(str(check), bold=True)} ({check.tier.value}): {check.claim}")
            click.echo(str(verdict.finding))
            if verdict.output:
                click.echo(f"\nIt printed:\n{verdict.output}")
        rest = [] if verbose else own[IN_FULL:]
        if rest:
            click.echo("\nand, told in full with --verbose:")
        for verdict in rest:
            click.echo(f"  {checks[verdict.check]}: {verdict.finding.reason}"[:160])
    click.echo()


def _summary(described: list[dict[str, Any]], verdicts: list[Any]) -> None:
    """How many checks ended how, a line for each subject."""
    statuses = ("passed", "failed", "crashed", "not applicable")
    rows = []
    for subject in described:
        own = [verdict for verdict in verdicts if verdict.subject == subject["name"]]
        counts = Counter(verdict.status.value for verdict in own)
        by = f"as {subject['like']}" if subject["like"] else f"{subject['distribution']} {subject['version']}"
        updates = sum(verdict.steps for verdict in own)
        rows.append((subject["name"], by, *(counts[status] for status in statuses), len(own), updates))
    table(("subject", "from", *statuses, "checks", "updates"), rows)
    for subject in described:
        if subject["taken"]:
            taken = ", ".join(f"{name}={value}" for name, value in subject["taken"].items())
            left = f"; of its own arguments, {', '.join(subject['left'])} kept the default" if subject["left"] else ""
            click.echo(f"note: {subject['name']} does not have what it was judged with: {taken}{left}", err=True)
