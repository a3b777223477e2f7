"""Where calendars, shares, placement, backfill, the solver and its validator will stand.

Nothing plans ahead yet: ``labcommons.scheduler.dispatch`` decides at each event, by age.
"""
