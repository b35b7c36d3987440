"""`optreg validate`: specs checked without a model, and without torch."""

import click

from optreg.cli.output import overrides_option, plugins_print_to_stderr
from optreg.errors import OptregError, SpecError
from optreg.loading import load_spec


@click.command("validate")
@click.argument("specs", nargs=-1, required=True)
@overrides_option
@click.option("-q", "--quiet", is_flag=True, help="Print nothing for valid specs.")
@click.pass_context
def command(context: click.Context, specs: tuple[str, ...], overrides: tuple[str, ...], quiet: bool) -> None:
    """Check SPECS. Prints every problem as file:line:column; exits with 1 if there is one."""
    wrong = False
    for spec in specs:
        try:
            with plugins_print_to_stderr():
                load_spec(spec, overrides)
        except SpecError as error:
            wrong = True
            click.echo(str(error), err=True)
        except OptregError as error:  # a plugin that the spec names is broken
            wrong = True
            click.echo(f"{spec}: {error}", err=True)
        else:
            if not quiet:
                click.echo(f"{spec}: ok")
    context.exit(int(wrong))
