"""From run folders to tidy frames, tables, figures and the ledger of claims."""
