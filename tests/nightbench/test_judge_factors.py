"""What differs between two nights of one server, and mixtures of both."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from nightbench.judge.factors import Recipe, differences, mixed

CODE = {"__init__.py": "SERVER = 1\n", "serve.py": "fast\n", "../raw_http.py": "wire\n"}
LIST = "numpy==2.4.6 ; python_full_version < '3.12'\nnumpy==2.5.5 ; python_full_version >= '3.12'\ntorch==2.12.0\n"
GOOD = Recipe({**CODE, "requirements.txt": LIST}, "ab12", "a" * 64, {"threads": 1}, {"kernel": "6.1", "kit": "x"})


def recipe(
    requirements: str = LIST,
    code: str = "fast\n",
    environment: str = "cd34",
    artifact: str = "a" * 64,
    **options: int,
) -> Recipe:
    files = {**CODE, "serve.py": code, "requirements.txt": requirements}
    return Recipe(files, environment, artifact, {"threads": 1, **options}, {"kernel": "6.1", "kit": "y"})


def test_nothing_differs_between_a_night_and_itself() -> None:
    what = differences(GOOD, recipe())
    assert (what.changed, what.unrestored) == ({}, {})


def test_every_factor_is_named_in_words() -> None:
    bumped = LIST.replace("2.12.0", "2.13.0") + "Uv_Loop==0.23.0\n"
    what = differences(GOOD, recipe(bumped, "slow\n", artifact="b" * 64, threads=2, workers=4))
    assert what.changed == {
        "option threads": "1 -> 2",
        "option workers": "none -> 4",
        "artifact": "aaaaaaaaaaaa -> bbbbbbbbbbbb",
        "code": "serve.py changed",
        "package torch": "2.12.0 -> 2.13.0",
        "package uv-loop": "none -> 0.23.0",
    }
    assert not what.unrestored


def test_lines_for_other_interpreters_belong_to_their_package() -> None:
    what = differences(GOOD, recipe(LIST.replace("2.5.5", "2.6.0")))
    assert list(what.changed) == ["package numpy"]
    assert "2.6.0" in what.changed["package numpy"]


def test_order_comments_and_spelling_of_a_list_change_nothing() -> None:
    shuffled = "# by hand\nTorch==2.12.0  # pinned\n" + "".join(reversed(LIST.splitlines(keepends=True)[:2]))
    changed = differences(GOOD, recipe(shuffled)).changed
    assert set(changed) <= {"package torch", "package numpy"}
    assert differences(GOOD, recipe("# by hand\n\n" + LIST)).changed == {}


def test_what_names_no_package_is_a_factor_of_its_own() -> None:
    what = differences(GOOD, recipe("--index-url https://elsewhere.test/simple\n" + LIST))
    assert list(what.changed) == ["requirement list"]


def test_the_machine_cannot_be_changed_back() -> None:
    tonight = Recipe(GOOD.files, "ab12", GOOD.artifact_sha256, GOOD.options, {"kernel": "6.2", "kit": "y"})
    what = differences(GOOD, tonight)
    assert what.unrestored == {"kernel": "6.1 -> 6.2"}
    assert not what.changed
    assert not what.unseen


def test_what_was_not_kept_is_the_servers_and_cannot_be_seen() -> None:
    what = differences(GOOD, recipe(artifact="b" * 64), artifact_gone="no longer in the cache")
    assert what.unrestored == {"artifact": "aaaaaaaaaaaa -> bbbbbbbbbbbb: no longer in the cache"}
    assert what.unseen == {"artifact"}
    without = Recipe(None, "ab12", GOOD.artifact_sha256, GOOD.options)
    assert differences(without, recipe()).unseen >= {"code"}


def test_pins_that_were_never_installed_are_no_factor() -> None:
    good = Recipe(GOOD.files, "host", GOOD.artifact_sha256, GOOD.options, GOOD.context)
    bumped = LIST.replace("2.12.0", "2.13.0")
    assert differences(good, recipe(bumped, environment="host")).changed == {}
    left = differences(good, recipe(bumped, environment="cd34"))
    assert left.changed == {}
    assert left.unseen == {"package torch", "environment"}


def test_a_mixture_takes_single_packages() -> None:
    tonight = recipe(LIST.replace("2.12.0", "2.13.0") + "uvloop==0.23.0\n", "slow\n", threads=2)
    mixture = mixed(GOOD, tonight, {"package torch"})
    assert mixture.files is not None
    assert set(mixture.files["requirements.txt"].splitlines()) == {*LIST.splitlines()[:2], "torch==2.13.0"}
    assert mixture.files["serve.py"] == "fast\n"
    assert mixture.options == {"threads": 1}


def test_a_whole_side_keeps_its_list_to_the_letter() -> None:
    """Its environment is known by the bytes of the list, and building one anew takes minutes."""
    tonight = recipe("torch==2.13.0\n# the rest\n" + "".join(LIST.splitlines(keepends=True)[:2]), "slow\n")
    assert mixed(GOOD, tonight, {"code"}).files == {**CODE, "serve.py": "slow\n", "requirements.txt": LIST}
    assert tonight.files is not None
    both = mixed(GOOD, tonight, differences(GOOD, tonight).changed)
    assert both.files == tonight.files


names = st.sampled_from(["numpy", "torch", "uvloop", "anyio"])
lists = st.dictionaries(names, st.sampled_from(["1.0", "2.0"])).map(
    lambda pins: "".join(f"{name}=={version}\n" for name, version in pins.items())
)
recipes = st.builds(
    recipe,
    requirements=lists,
    code=st.sampled_from(["fast\n", "slow\n"]),
    artifact=st.sampled_from(["a" * 64, "b" * 64]),
    threads=st.integers(1, 2),
)


@given(recipes, recipes, st.data())
def test_a_mixture_differs_from_last_good_by_its_factors_and_from_tonight_by_the_rest(
    good: Recipe, tonight: Recipe, data: st.DataObject
) -> None:
    factors = list(differences(good, tonight).changed)
    chosen = data.draw(st.sets(st.sampled_from(factors))) if factors else set()
    mixture = mixed(good, tonight, chosen)
    assert set(differences(good, mixture).changed) == chosen
    assert set(differences(mixture, tonight).changed) == set(factors) - chosen


def in_image(of: Recipe, image: str) -> Recipe:
    return replace(of, image=image, context={**of.context, "image": image, "image_digest": image})


OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def test_an_image_of_the_same_kit_on_another_base_is_a_factor() -> None:
    good, tonight = in_image(GOOD, OLD), in_image(recipe(), NEW)
    assert differences(good, tonight).changed == {"image": "aaaaaaaaaaaa -> bbbbbbbbbbbb"}
    assert mixed(good, tonight, ["image"]).image == NEW
    assert mixed(good, tonight, []).image == OLD


def test_an_image_that_is_gone_cannot_be_changed_back() -> None:
    what = differences(in_image(GOOD, OLD), in_image(recipe(), NEW), image_gone="the engine no longer has it")
    assert what.changed == {}
    assert what.unseen == {"image"}
    assert what.unrestored["image"] == "aaaaaaaaaaaa -> bbbbbbbbbbbb: the engine no longer has it"


def test_images_of_other_kits_differ_by_what_the_kits_say() -> None:
    good = in_image(GOOD, OLD)
    tonight = in_image(recipe(LIST.replace("2.12.0", "2.13.0"), "slow\n"), NEW)
    assert list(differences(good, tonight).changed) == ["package torch", "code"]
    assert mixed(good, tonight, ["option threads"]).image == OLD
    assert mixed(good, tonight, ["package torch", "code"]).image == NEW
    # Nobody has that one yet.
    assert mixed(good, tonight, ["package torch"]).image == ""


def test_a_process_has_no_image_to_differ_by() -> None:
    assert differences(GOOD, in_image(recipe(), NEW)).changed == {}
    assert mixed(GOOD, recipe(), ["code"]).image == ""


def test_images_of_different_kits_may_differ_by_their_base_as_well() -> None:
    good, tonight = in_image(GOOD, OLD), in_image(recipe(code="slow\n"), NEW)
    words = "images of different kits: what they were built on may differ as well"
    what = differences(good, tonight)
    assert (what.changed, what.unrestored) == ({"code": "serve.py changed"}, {"image base": words})
    # Last-good runs from its own image, so the two sides do tell of the base; built anew it would say nothing of it.
    assert not what.unseen
    assert differences(good, tonight, image_gone="the engine no longer has it").unseen == {"image base"}


def test_how_a_container_is_reached_follows_from_the_rest() -> None:
    good = replace(GOOD, context={**GOOD.context, "network": "this machine only, by the bridge"})
    assert not differences(good, recipe()).unrestored
