"""Addresses and names: one spelling each, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paaplus.errors import PackError, RegistryError
from paaplus.registry.names import PackAddress, experiment_name, release_model, user_model

SHA = "0123456789abcdef" * 4


@given(row=st.integers(0, 10**9), user_id=st.text(min_size=1))
def test_addresses_round_trip(row, user_id):
    address = PackAddress(SHA, row, user_id)
    assert PackAddress.parse(str(address)) == address


def test_the_form_of_addresses():
    assert str(PackAddress(SHA)) == f"paaplus://packs/{SHA}"
    assert PackAddress.parse(f"paaplus://packs/{SHA}") == PackAddress(SHA)
    assert (
        str(PackAddress(SHA, 7, "a b&row=1")) == f"paaplus://packs/{SHA}?row=7&user=a%20b%26row%3D1"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "paaplus://packs/",
        f"paaplus://packs/{SHA[:-1]}",
        f"paaplus://packs/{SHA.upper()}",
        f"paaplus://packs/../{SHA}",
        f"paaplus://packs/{SHA}/",
        f"paaplus://other/{SHA}",
        f"paaplus://u:p@packs/{SHA}",
        f"file://packs/{SHA}",
        f"paaplus://packs/{SHA}?",
        f"paaplus://packs/{SHA}#x",
        f"paaplus://packs/{SHA}?row=1",
        f"paaplus://packs/{SHA}?user=u",
        f"paaplus://packs/{SHA}?row=1&user=",
        f"paaplus://packs/{SHA}?user=u&row=1",
        f"paaplus://packs/{SHA}?row=1&user=u&user=v",
        f"paaplus://packs/{SHA}?row=1&row=2&user=u",
        f"paaplus://packs/{SHA}?row=01&user=u",
        f"paaplus://packs/{SHA}?row=1_0&user=u",
        f"paaplus://packs/{SHA}?row=%31&user=u",
        f"paaplus://packs/{SHA}?row=٣&user=u",
        f"paaplus://packs/{SHA}?row=-1&user=%75",
        f"paaplus://packs/{SHA}?row=1&user=%FF",
        f"paaplus://packs/{SHA}?row=1&user=a/b",
        f"paaplus://packs/{SHA}?row=1&user=a+b",
        f"paaplus://packs/{SHA}?row=1&user=u\n",
        f"paaplus://packs/{SHA}?row=1&user=u#x",
        f"paaplus://[packs/{SHA}",
    ],
)
def test_other_spellings_are_refused(text):
    with pytest.raises(PackError, match="not the address of a pack"):
        PackAddress.parse(text)


def test_names_of_models():
    assert experiment_name("main") == "paaplus.main"
    assert release_model("main", "c0000") == "paaplus.main.c0000"
    assert user_model("main", "..") == "paaplus.main.u..."
    assert len(user_model("f" * 64, "x" * 128)) < 256


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "a:b", "x" * 65, "é", "a\n"])
def test_names_that_could_be_taken_for_others_are_refused(name):
    for make in (experiment_name, lambda n: release_model("main", n)):
        with pytest.raises(RegistryError):
            make(name)


@pytest.mark.parametrize("user_id", ["", "a/b", "a:b", "x" * 129, "é", "a\n", "a'b"])
def test_users_outside_the_contract_are_refused(user_id):
    with pytest.raises(RegistryError):
        user_model("main", user_id)
