"""House rules: what our trainers expect of every schedule."""

from optreg.conformance import NotApplicable, SchedulerRun, Tier, check


@check("H02", Tier.SHOULD, hint="the curve has a second peak")
def check_the_rate_never_rises_after_its_peak(subject):
    """From its highest rate on, a schedule's rate never rises again before its end."""
    settings = subject.ordinary()
    end = subject.last_step(settings)
    if end is None:
        raise NotApplicable("it declares no end")
    run = SchedulerRun(subject, settings)
    rates = [run.rates[0]]
    while run.t < end:
        run.step()
        rates.append(run.rates[0])
    for t in range(rates.index(max(rates)) + 1, end + 1):
        subject.assert_true(rates[t] <= rates[t - 1], f"the rate rises from {rates[t - 1]} to {rates[t]}", step=t)
