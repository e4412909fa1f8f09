from tests.browser.conftest import *
from tests.browser.test_uploads import *
import tests.browser.test_uploads as m
for n in list(globals()):
    if n.startswith("test_"): del globals()[n]
from tests.browser.test_uploads import test_files_of_an_archive_become_the_splits_they_are_called_like as inner
def test_it(installation, page, complaints, archive):
    page.on("request", lambda r: r.method=="POST" and print("POST", r.url, flush=True))
    page.on("framenavigated", lambda f: print("NAV", f.url, flush=True))
    inner(installation, page, complaints, archive)
del inner
