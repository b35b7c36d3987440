"""Every check of optreg's suite that is a MUST, each a test of its own."""

from optreg.conformance import parametrize_with_checks


@parametrize_with_checks("signsgd")
def test_signsgd_conforms(check):
    check()


@parametrize_with_checks("signum")
def test_signum_conforms(check):
    check()
