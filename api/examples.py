"""Example requests of the OpenAPI document. They work as they stand: a test sends each of them."""

import json
from typing import Any

SUBMIT: dict[str, Any] = {
    "transcribe": {
        "summary": "a recording that lies on the web",
        "value": {"kind": "transcribe", "input": {"audio": "https://example.com/talk.mp3"}},
    },
    "caption": {
        "summary": "a photograph, with the ten next likeliest captions",
        "value": {
            "kind": "caption",
            "input": {"image": "https://example.com/still.jpg"},
            "params": {"alternatives": 10},
        },
    },
    "caption_scene": {
        "summary": "a composed scene, more carefully than usual",
        "value": {
            "kind": "caption",
            "model": "cnn-attention",
            "input": {"image": "https://example.com/scene.png"},
            "params": {"beams": 5},
        },
    },
    "generate": {
        "summary": "a text continued, the same each time",
        "value": {
            "kind": "generate",
            "input": {"prompt": "It was a dark and stormy night"},
            "params": {"max_tokens": 64, "temperature": 0.7, "seed": 7},
            "metadata": {"scene": 12},
        },
    },
    "generate_later": {
        "summary": "of low priority, and only if it starts within an hour",
        "value": {
            "kind": "generate",
            "model": "lstm",
            "input": {"prompt": {"url": "https://example.com/act-one.txt"}},
            "priority": -5,
            "queue_ttl_s": 3600,
            "run_timeout_s": 60,
            "max_attempts": 1,
        },
    },
    "recommend": {
        "summary": "titles like those already liked",
        "value": {
            "kind": "recommend",
            "input": {"catalogue": "https://example.com/catalogue.csv", "history": ["tt0033467", "tt0052357"]},
            "params": {"k": 5},
        },
    },
    "recommend_all": {
        "summary": "titles for every user, from what all of them chose",
        "value": {
            "kind": "recommend",
            "model": "item-knn",
            "input": {
                "catalogue": "https://example.com/catalogue.csv",
                "interactions": "https://example.com/views.parquet",
                "users": "all",
            },
        },
    },
}

BATCH: dict[str, Any] = {
    "two": {
        "summary": "a text and a photograph",
        "value": "".join(json.dumps(SUBMIT[name]["value"]) + "\n" for name in ("generate", "caption")),
    }
}

UPLOAD: dict[str, Any] = {
    "recording": {"summary": "a long recording", "value": {"name": "premiere.wav", "bytes": 734003200}}
}

RETRY: dict[str, Any] = {
    "otherwise": {
        "summary": "with other params, sooner, and at most an hour in the queue",
        "value": {"params": {"seed": 8, "temperature": None}, "priority": 5, "queue_ttl_s": 3600},
    }
}

DEFAULT_WEBHOOK: dict[str, Any] = {
    "ends": {"summary": "ends alone", "value": {"url": "https://hooks.studio.example/backlot", "events": ["completed"]}}
}

SCHEDULE: dict[str, Any] = {
    "weekdays": {
        "summary": "a text on each weekday at half past six in Berlin",
        "value": {
            "cron": "30 6 * * 1-5",
            "time_zone": "Europe/Berlin",
            "name": "morning line",
            "job": {"kind": "generate", "input": {"prompt": "Good morning"}, "metadata": {"desk": "radio"}},
        },
    }
}

CHANGE_SCHEDULE: dict[str, Any] = {
    "pause": {"summary": "paused, and with another note in its jobs", "value": {"paused": True, "job": {"priority": 2}}}
}

AMEND: dict[str, Any] = {
    "sooner": {
        "summary": "sooner, with another note, and without a deadline",
        "value": {"priority": 5, "metadata": {"note": "for tonight", "scene": None}, "deadline_s": None},
    }
}

REPLAY: dict[str, Any] = {"otherwise": {"summary": "by another model", "value": {"patch": {"model": "lstm"}}}}
