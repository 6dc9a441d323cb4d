"""One module a verb: `add_arguments(parser)`, `run(args, context) -> exit code`, and `EXAMPLES` for its help."""
