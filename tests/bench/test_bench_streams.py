import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_runtime.bench.sse import EventReader
from superinfer_runtime.bench.token_stream import StreamError, TokenStream, error_message


def text_chunk(text: str, finish: str | None = None) -> bytes:
    return json.dumps({"choices": [{"text": text, "finish_reason": finish}]}).encode()


def usage_chunk(completion_tokens: int) -> bytes:
    usage = {"prompt_tokens": 7, "completion_tokens": completion_tokens}
    return json.dumps({"choices": [], "usage": usage}).encode()


def stream(*events: bytes) -> TokenStream:
    """One event a second, the first at 1."""
    tokens = TokenStream()
    for second, event in enumerate(events, start=1):
        tokens.event(event, float(second))
    return tokens


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=1), max_size=8
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.data(),
)
def test_events_survive_any_cut_of_the_bytes(
    payloads: list[str], newline: str, data: st.DataObject
) -> None:
    wire = "".join(f"data: {payload}{newline}{newline}" for payload in payloads).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    reader, events = EventReader(), list[bytes]()
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        events += reader.feed(wire[start:end])
    assert [event.decode() for event in events] == payloads
    assert reader.close() == []


def test_comments_and_other_fields_are_skipped_and_a_last_event_needs_no_blank_line() -> None:
    reader = EventReader()
    assert reader.feed(b": ping\n\nevent: x\nid: 1\ndata:a\ndata: b\n\ndata: [DONE]") == [b"a\nb"]
    assert reader.close() == [b"[DONE]"]


def test_one_token_a_chunk() -> None:
    served = stream(
        text_chunk("a"), text_chunk("b"), text_chunk("c", "length"), usage_chunk(3), b"[DONE]"
    ).served(5)
    assert served.first_token_s == 1
    assert served.gaps_s == (1, 1)
    assert served.tbt_s == 1
    assert (served.input_tokens, served.output_tokens) == (7, 3)


def test_tokens_that_share_a_chunk_arrive_together() -> None:
    served = stream(text_chunk("ab"), text_chunk("cde", "length"), usage_chunk(5)).served(5)
    assert sorted(served.gaps_s) == [0, 0, 0, 1]
    assert served.tbt_s == 0.25


def test_chunks_that_are_smaller_than_tokens_do_not_flatter_tbt() -> None:
    served = stream(*[text_chunk("a")] * 5, text_chunk("a", "stop"), usage_chunk(3)).served(5)
    assert served.tbt_s == 2.5


def test_the_closing_chunk_without_text_is_no_token() -> None:
    served = stream(text_chunk("a"), text_chunk("b"), text_chunk("", "stop"), usage_chunk(2))
    assert served.served(5).gaps_s == (1,)


def test_the_closing_chunk_without_text_may_be_a_token() -> None:
    served = stream(text_chunk("a"), text_chunk("b"), text_chunk("", "length"), usage_chunk(3))
    assert served.served(5).gaps_s == (1, 1)


def test_the_first_token_is_the_first_with_text() -> None:
    served = stream(
        text_chunk(""), text_chunk("ä"), text_chunk("b"), text_chunk("c", "length"), usage_chunk(4)
    ).served(5)
    assert served.first_token_s == 2
    assert served.tbt_s == 1
    assert served.output_tokens == 4


def test_without_any_text_every_chunk_counts() -> None:
    served = stream(text_chunk(""), text_chunk(""), text_chunk("", "length"), usage_chunk(3))
    assert served.served(5).first_token_s == 1
    assert served.served(5).gaps_s == (1, 1)


def test_a_chats_role_is_no_token_and_reasoning_is() -> None:
    tokens = stream(
        b'{"choices": [{"delta": {"role": "assistant", "content": ""}}]}',
        b'{"choices": [{"delta": {"reasoning_content": "hm"}}]}',
        b'{"choices": [{"delta": {"content": "yes"}, "finish_reason": "stop"}]}',
        usage_chunk(2),
    )
    assert tokens.served(5).first_token_s == 2
    assert tokens.served(5).gaps_s == (1,)


def test_without_usage_chunks_are_counted() -> None:
    served = stream(text_chunk("a"), text_chunk("b"), b"[DONE]").served(5)
    assert (served.input_tokens, served.output_tokens) == (5, 2)


def test_one_token_has_no_gap() -> None:
    served = stream(text_chunk("a", "length"), usage_chunk(1)).served(5)
    assert served.tbt_s is None
    assert served.gaps_s == ()


@given(st.lists(st.sampled_from(["", "a", "é"]), min_size=1, max_size=20), st.integers(1, 40))
def test_gaps_and_tbt_agree(texts: list[str], count: int) -> None:
    *head, last = texts
    served = stream(*map(text_chunk, head), text_chunk(last, "length"), usage_chunk(count))
    answer = served.served(5)
    assert answer.output_tokens == count
    if answer.tbt_s is not None:
        assert answer.tbt_s >= sum(answer.gaps_s) / len(answer.gaps_s) - 1e-9


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([text_chunk("a")], "ended before"),
        ([], "ended before"),
        ([b"[DONE]"], "no token"),
        ([text_chunk("", "stop"), usage_chunk(0)], "no token"),
        ([b"{nonsense"], "not JSON"),
        ([b"[1]"], "not an object"),
        ([b'{"error": {"message": "engine\\n died", "code": 500}}'], "^engine died$"),
    ],
)
def test_broken_streams(events: list[bytes], message: str) -> None:
    with pytest.raises(StreamError, match=message):
        stream(*events).served(5)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no such model", "type": "NotFoundError"}}, "no such model"),
        ({"error": "busy"}, "busy"),
        ({"message": "too long", "code": 400}, "too long"),
        ({"detail": "Not Found"}, "Not Found"),
        ("plain\ntext", "plain text"),
    ],
)
def test_error_messages(body: object, message: str) -> None:
    assert error_message(body) == message
