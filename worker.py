"""The background processes of the Procfile: `python worker.py control | builds | clock`."""

from autostack.copies import made_for_good

if __name__ == "__main__":
    with made_for_good():
        from autostack.worker import main
    main()
