"""The ledger of instrument time and how a submission is funded. Calls, proposals and awards will stand beside them."""
