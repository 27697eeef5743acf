from tests.console.conftest import Visit
from tests.console.scene import at_work, hours, scene
from tests.web.site import Site


def test_look(site: Site, visit: Visit) -> None:
    scene(site)
    hours(site)
    at_work(site)
    for phone in (False, True):
        me = visit(phone=phone)
        tail = "-phone" if phone else ""
        me.goes("/")
        me.keeps("login" + tail)
        me.logs_in()
        for name, path in {
            "overview": "/",
            "policies": "/console/policies",
            "policy": "/console/policy?id=bolts-publish",
            "evaluate": "/console/evaluate",
            "changes": "/console/changes",
            "nothing": "/console/zip",
        }.items():
            me.goes(path)
            me.keeps(name + tail)
        me.wrong.clear()
