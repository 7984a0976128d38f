"""The site proxy of the Procfile: `python proxy.py`."""

from autostack.proxy import main

if __name__ == "__main__":
    main()
