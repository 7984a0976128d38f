"""The background processes of the Procfile: `python worker.py control | builds | clock`."""

from autostack.worker import main

if __name__ == "__main__":
    main()
