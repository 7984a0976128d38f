"""The site proxy of the Procfile: `python proxy.py`."""

from autostack.copies import made_for_good

if __name__ == "__main__":
    with made_for_good():
        from autostack.proxy import main
    main()
