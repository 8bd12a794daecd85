"""The entry point of `skinaudit` and of `python -m skinaudit`. From here on, every error ends in one line.

It imports nothing before it handles interrupts. Python itself reports an interrupt that comes earlier.
"""

import sys


def main() -> None:
    """Import and run the command line. An interrupt or an error during the import ends like a later one."""
    try:
        from skinaudit.commands import endings
    except KeyboardInterrupt:
        print("skinaudit: interrupted; no partial file was left", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # for example a file signal.py in this folder, which Python mistakes for its own module
        print(f"skinaudit: cannot start: {type(error).__name__}: {error}; start it in another folder", file=sys.stderr)
        sys.exit(2)

    def import_and_invoke() -> int:
        from skinaudit.cli import invoke

        return invoke()

    endings.run(import_and_invoke)


if __name__ == "__main__":
    main()
