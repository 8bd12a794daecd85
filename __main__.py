"""The entry point of `skinaudit` and of `python -m skinaudit`: from here on, whatever happens ends in one line.

It imports nothing before it listens: an interrupt that comes earlier is Python's own to tell.
"""

import sys


def main() -> None:
    """Import and run the command line; an interrupt or an error meanwhile ends like any later one."""
    try:
        from skinaudit.commands import endings
    except KeyboardInterrupt:
        print("skinaudit: interrupted; no partial file was left", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # such as a file signal.py in this folder, which Python takes for its own module
        print(f"skinaudit: cannot start: {type(error).__name__}: {error}; start it in another folder", file=sys.stderr)
        sys.exit(2)

    def import_and_invoke() -> int:
        from skinaudit.cli import invoke

        return invoke()

    endings.run(import_and_invoke)


if __name__ == "__main__":
    main()
