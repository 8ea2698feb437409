"""Ask URLs as the host sees them and print the answers as JSON; change nothing.

Runs on the host: `python3 -c <this>`; standard input is one line of JSON, a list of {"name", "url", "token"?, "accept"?}.
The token comes over standard input so that no process list shows it. Bodies are cut at 2 MB.
"""

import concurrent.futures
import json
import sys
import urllib.error
import urllib.request


def ask(question):
    request = urllib.request.Request(question["url"], method=question.get("method", "GET"))
    if question.get("accept"):
        request.add_header("Accept", question["accept"])
    if question.get("token"):
        request.add_unredirected_header("Authorization", "Bearer " + question["token"])
    answer = {"name": question["name"], "url": question["url"], "status": 0, "headers": {}, "text": "", "error": ""}
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            answer["status"], headers = response.status, response.headers
            answer["text"] = response.read(2_000_000).decode(errors="replace")
    except urllib.error.HTTPError as error:
        answer["status"], headers = error.code, error.headers
        answer["text"] = error.read(2000).decode(errors="replace")
    except (OSError, ValueError) as error:
        answer["error"] = str(getattr(error, "reason", error))
        return answer
    answer["headers"] = {key.lower(): value for key, value in headers.items()}
    return answer


def main():
    questions = json.loads(sys.stdin.readline())
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        print(json.dumps(list(pool.map(ask, questions))))


main()
