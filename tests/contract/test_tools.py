from tests.api import Api


def test_create_then_read(api: Api) -> None:
    created = api.post("tools", {"name": " web ", "description": " as is "})
    assert created.status == 201
    assert list(created.json) == ["id", "name", "description", "created_at", "updated_at"]
    assert created.json["name"] == "web"
    assert created.json["description"] == " as is "
    assert api.get(f"tools/{created.json['id']}").json == created.json


def test_a_name_can_be_taken_once(api: Api) -> None:
    body = {"name": "web", "description": "d"}
    assert api.post("tools", body).status == 201
    again = api.post("tools", body)
    assert (again.status, again.error_code, again.details) == (
        400,
        "DUPLICATE_TOOL_NAME",
        {"name": "web"},
    )
