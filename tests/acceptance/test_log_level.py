"""How much logs say is set at run time, in every process, and goes back by itself."""

from tests.acceptance.test_lifecycle import clusters, run_command, site
from tests.support.gateways import Site, open_gateway
from tests.support.waiting import wait_until

__all__ = ["clusters", "site"]


async def test_every_process_hears_the_level_and_says_so(site: Site) -> None:
    async with open_gateway(site.folder, site.registry_url, processes=2) as serving:
        shown = await serving.ask_admin("GET", "/log-level")
        code, out, err = await run_command("log-level", "debug", "--for", "5m", serving=serving)
        heard = (await serving.ask_admin("GET", "/log-level")).json()["processes"]
        back = (await serving.ask_admin("PUT", "/log-level", {"level": "configured"})).json()

        assert [each["level"] for each in shown.json()["processes"]] == ["info"] * 2
        assert (code, err) == (0, "")
        assert out.count("debug") == 2
        assert {each["pid"] for each in heard} == set(serving.children())
        assert all(each["level"] == "debug" and 200 < each["left_s"] <= 300 for each in heard)
        assert back["done"]
        assert [(each["level"], each["left_s"]) for each in back["processes"]] == [("info", None)] * 2
        assert [line["now"] for line in serving.said("log-level")].count("debug") == 2


async def test_it_goes_back_by_itself_and_every_process_says_so(site: Site) -> None:
    async with open_gateway(site.folder, site.registry_url) as serving:
        await serving.ask_admin("PUT", "/log-level", {"level": "error", "for_s": 1})
        line = await serving.hears("log-level", times=2)

        async def shown() -> str:
            (process,) = (await serving.ask_admin("GET", "/log-level")).json()["processes"]
            return str(process["level"])

        async def is_back() -> bool:
            return await shown() == "info"

        await wait_until(is_back, what="the process to say that it is over")

    assert (line["before"], line["now"]) == ("error", "info")


async def test_what_is_no_level_is_refused(site: Site) -> None:
    async with open_gateway(site.folder, site.registry_url) as serving:
        refused = await serving.ask_admin("PUT", "/log-level", {"level": "loud"})
        code, _, err = await run_command("log-level", "loud", serving=serving)

    assert refused.status_code == 422
    assert code == 2
    assert "no level" in err
