"""The sub-commands of the command line, one module each; ``sw.cli`` says what a module holds."""
