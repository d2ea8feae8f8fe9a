"""The program `status_page`: one page on 127.0.0.1 that says how the whole system is."""
