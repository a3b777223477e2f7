"""All that crosses a trust domain: grants, reports, enrolment, records, wire versions."""
