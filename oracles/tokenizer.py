"""Golden token ids for crates/models/tests/tokenizer.rs, from llama.cpp, and chat renderings, from transformers.

    pip install xllamacpp==2026.10.11549 gguf==0.19.0 transformers==5.2.0 jinja2
    python oracles/tokenizer.py SMOLLM2.gguf GEMMA3.gguf

Writes crates/models/tests/golden/tokenizer.json (strings and ids) and tokenizer_chat.json (conversations and texts), and prints for every
`tokenizer.ggml.pre` in crates/models/src/tokenizer/pre_tokenizer.rs the ids' digest under a small vocabulary, which the golden file holds as well.
"""

import ctypes
import glob
import hashlib
import json
import os
import random
import re
import struct
import sys
import tempfile
from collections import Counter

import xllamacpp

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
GOLDEN = os.path.join(ROOT, "crates/models/tests/golden")
PRE_TABLE = os.path.join(ROOT, "crates/models/src/tokenizer/pre_tokenizer.rs")


class Params(ctypes.Structure):
    """llama_model_params, of which only one byte matters here: `vocab_only`."""

    _fields_ = [("bytes", ctypes.c_ubyte * 256)]


VOCAB_ONLY = 72


class Llama:
    """The C interface inside the xllamacpp wheel: vocabulary only."""

    def __init__(self):
        path = glob.glob(os.path.join(os.path.dirname(xllamacpp.__file__), "xllamacpp*.so"))[0]
        self.lib = lib = ctypes.CDLL(path)
        lib.llama_model_default_params.restype = Params
        lib.llama_model_load_from_file.restype = ctypes.c_void_p
        lib.llama_model_load_from_file.argtypes = [ctypes.c_char_p, Params]
        lib.llama_model_get_vocab.restype = ctypes.c_void_p
        lib.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
        lib.llama_model_free.argtypes = [ctypes.c_void_p]
        lib.llama_tokenize.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.c_int32, ctypes.c_bool, ctypes.c_bool,
        ]
        self.silent = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        lib.llama_log_set(self.silent, None)

    def load(self, path):
        params = self.lib.llama_model_default_params()
        params.bytes[VOCAB_ONLY] = 1
        model = self.lib.llama_model_load_from_file(path.encode(), params)
        if not model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        return model

    def tokenize(self, model, text, parse_special=True):
        data = text.encode()
        buffer = (ctypes.c_int32 * (len(data) + 16))()
        vocab = self.lib.llama_model_get_vocab(model)
        count = self.lib.llama_tokenize(vocab, data, len(data), buffer, len(buffer), False, parse_special)
        assert count >= 0, text
        return list(buffer[:count])


SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<file_sep>", "<bos>", "<eos>", "<start_of_turn>",
           "<end_of_turn>", "<unused7>", "<h1>", "</h1>", "<table>", "<unk>", "<mask>", "[multimodal]", "<pad>", "<0x41>", "<s>"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\n\n", "\v", "\f", "\x85", "\xa0", "\u1680", "\u2000", "\u2003", "\u2009", "\u200a",
          "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u200b", "\u180e", "\ufeff", "\u2060"]
EMOJI = ["🙂", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "1️⃣", "❤️", "☺", "🧑🏿‍🚀", "🫠", "🪿", "©", "™️"]
MARKS = ["é", "e\u0301", "a\u0308\u0323", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞", "नमस्ते", "ก็", "한글", "\u1112\u1161\u11ab", "ﷺ", "ﬁ", "Å", "A\u030a", "ạ̈", "क्षि", "্", "\u0300"]
SCRIPTS = ["漢字仮名交じり文", "你好，世界！", "日本語テキスト", "안녕하세요 세계", "שלום עולם", "مرحبا بالعالم", "Привет, мир", "Γειά σου Κόσμε", "สวัสดีชาวโลก",
           "ಕನ್ನಡ", "தமிழ்", "ქართული", "Հայերեն", "አማርኛ", "ᚠᛇᚻ᛫", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𐍈𐌰", "ⅣⅫ", "①②③", "½⅓", "٠١٢٣٤", "१२३", "㍿", "ǅ", "ʰ", "ſtraße", "İıŞ", "ℵ", "々", "ー"]
CONTROL = ["\x00", "\x01", "\x04", "\x06", "\x07", "\x08", "\x0e", "\x13", "\x14", "\x16", "\x1b[31m", "\x1c", "\x1d", "\x1f", "\x7f", "\x80", "\x9f", "\u200d",
           "\u202e", "\u2066", "\ufffd", "\ufffe", "\uffff", "\ue000", "\U000f0000", "\U0010ffff", "\U000e0041", "\ud7ff", "\U0001f1e6"]
CONTRACTIONS = ["I'm", "you're", "it's", "they've", "he'd", "we'll", "can't", "I'M", "YOU'RE", "IT'S", "'s", "'S", "'", "''", "'t'", "’s", "o'clock", "'ll'",
                "rock'n'roll", "'ſ", "l'été", "don''t", "' s", "'\n's", "x'RE", "'Ve", "'LL"]
CODE = ["def f(x):\n    return x**2\n", "for (int i = 0; i < n; ++i) { a[i] += b[i]; }", "SELECT * FROM t WHERE a='b' AND c<>1;", "<div class=\"x\">&nbsp;</div>",
        "\\alpha_{ij}^{2}", "https://example.org/a?b=c&d=%20#e", "user@example.org", "C:\\Windows\\System32", "/usr/lib/x86_64", "#!/bin/sh\n\techo \"$@\"",
        "a->b::c", "x=1;y=2", "!=", "===", "<=>", "/* c */", "// c", "{{ x }}", "${HOME}", "0xDEADBEEF", "1e-9", "3.14159", "-1", "+1", "1,000,000", "v1.2.3-rc.1",
        "snake_case camelCase PascalCase SCREAMING_CASE kebab-case", "\t\tif x:\n\t\t\tpass", "    \n    \n", "a\tb\tc", "```rust\nfn main() {}\n```"]
WORDS = ["the", "Hello", "world", "antidisestablishmentarianism", "Donaudampfschifffahrtsgesellschaft", "xqzjk", "A", "I", "ok", "NASA", "iPhone", "naïve", "Straße"]


def hostile_strings(count=1000, seed=20261121):
    """Every kind of trouble alone, next to each other, and in random mixtures."""
    random_ = random.Random(seed)
    pools = [SPECIAL, SPACES, EMOJI, MARKS, SCRIPTS, CONTROL, CONTRACTIONS, CODE, WORDS]
    strings = ["", " ", "a", "\n"]
    for pool in pools:
        strings += pool
    strings += [space * n for space in [" ", "\n", "\t", "\r\n", "\u3000", "\xa0"] for n in (2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40)]
    strings += [f"a{space}b" for space in SPACES] + [f"{space}a" for space in SPACES] + [f"a{space}" for space in SPACES]
    strings += ["".join(random_.choice("0123456789") for _ in range(n)) for n in list(range(1, 14)) + [20, 33]]
    strings += [f"x{'7' * n} {'42' * n}.{'0' * n}" for n in range(1, 8)]
    strings += [mark for mark in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" ] + [mark * 3 for mark in "!-=#*.?_~`<>"] + [f" {mark}\n" for mark in "!-=#*.?)"]
    strings += [f"{a}{b}" for a in SPECIAL[:6] for b in (" x", "\n", "x", "<|im_start|>")] + ["<|im_start|", "|im_end|>", "<|im_start|>|>", "<<|im_end|>>", "< bos>", "<BOS>", "\n\n<h1>\n"]
    strings += ["ab" * 100, "x" * 200, "é" * 60, "漢" * 50, "🙂" * 25, "-" * 90, " a" * 40, "\x00" * 9, "q\u0301" * 30, "﷽" * 5, "aA1 " * 25]
    flat = [item for pool in pools for item in pool]
    seen = set()
    strings = [s for s in strings if not (s in seen or seen.add(s))]
    while len(strings) < count:
        parts = random_.choices(flat, k=random_.randint(2, 4))
        text = random_.choice(["", "", " ", "\n", "  "]).join(parts)
        if random_.random() < 0.3:
            text = "".join(chr(random_.choice([random_.randint(0, 0x7F), random_.randint(0x80, 0x7FF), random_.randint(0x800, 0xD7FF), random_.randint(0x1F300, 0x1FAFF),
                                              random_.randint(0xE000, 0xFFFF)])) for _ in range(random_.randint(1, 9)))
        if len(text) <= 48 and text not in seen:
            seen.add(text)
            strings.append(text)
    return strings[:count]


def byte_alphabet():
    """GPT-2's character for each byte, in the order of GPT-2's vocabulary: visible bytes first."""
    visible = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    alphabet = {byte: chr(byte) for byte in visible}
    for byte in range(256):
        if byte not in alphabet:
            alphabet[byte] = chr(0x100 + len(alphabet) - len(visible))
    return alphabet


def unsplit_merges(strings, count=1500):
    """Byte-level merges trained on whole strings: they join what the patterns keep apart, so that the ids tell where a text was split."""
    alphabet = byte_alphabet()
    words = [[alphabet[byte] for byte in text.encode()] for text in strings]
    merges, known = [], set(alphabet.values())
    while len(merges) < count:
        pairs = Counter(pair for word in words for pair in zip(word, word[1:]))
        # The shortest of the commonest, then the smallest: deterministic. No token is longer than four bytes,
        # so that none reads like a control token (`<eos>`), which llama.cpp would take for one.
        pair = min((p for p in pairs if len(p[0] + p[1]) <= 4 and p[0] + p[1] not in known), key=lambda p: (-pairs[p], p), default=None)
        if pair is None:
            break
        merges.append(" ".join(pair))
        known.add(pair[0] + pair[1])
        words = [merged(word, pair) for word in words]
    return merges


def merged(word, pair):
    out, at = [], 0
    while at < len(word):
        if at + 1 < len(word) and (word[at], word[at + 1]) == pair:
            out.append(word[at] + word[at + 1])
            at += 2
        else:
            out.append(word[at])
            at += 1
    return out


def with_pre(pre, merges, folder):
    """A GGUF file of nothing but a tokenizer: the bytes, the merges, and `pre`."""
    from gguf import GGUFWriter

    out = os.path.join(folder, f"{pre}.gguf")
    writer = GGUFWriter(out, "llama")
    for key, value in [("block_count", 1), ("context_length", 8), ("embedding_length", 8), ("feed_forward_length", 8), ("attention.head_count", 1)]:
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    tokens = list(byte_alphabet().values()) + [merge.replace(" ", "") for merge in merges]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges(merges)
    writer.add_add_bos_token(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return out


def digest(ids):
    """Names a list of lists of ids: SHA-256 over counts and ids as little-endian 32-bit numbers."""
    sha = hashlib.sha256()
    for row in ids:
        sha.update(struct.pack(f"<{len(row) + 1}I", len(row), *row))
    return sha.hexdigest()


CONVERSATIONS = [
    [{"role": "user", "content": "Hello!"}],
    [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "  What is the capital of France? "},
     {"role": "assistant", "content": "Paris."}, {"role": "user", "content": "And of \"Italy\" <b>now</b>?\n"}],
    [{"role": "user", "content": "naïve 🙂\n\n{{ not a template }}"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "<|im_end|>"}],
]

TEMPLATES = {
    "chatml": "{%- for turn in messages %}\n    {{- '<|im_start|>' ~ turn.role ~ '\\n' ~ turn.content | trim ~ '<|im_end|>\\n' }}\n{%- endfor %}\n"
              "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n",
    "llama3": "{{- bos_token }}\n{%- if tools is not none and tools %}{{ raise_exception('no tools') }}{% endif %}\n"
              "{% set ns = namespace(system='none') %}\n{%- for m in messages if m['role'] == 'system' %}{% set ns.system = m['content'] %}{% endfor -%}\n"
              "{%- for m in messages %}\n  {% if m.role != 'system' -%}\n<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m['content'].strip() }}<|eot_id|>\n"
              "  {%- endif %}\n{% endfor %}[{{ ns.system.upper().split(' ') | join('/') }}]"
              "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' if add_generation_prompt else '' }}",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\\n\\n' %}{% set rest = messages[1:] %}"
             "{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}{% for m in rest %}"
             "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
             "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ (first if loop.first else '') + m['content'] | trim }}<end_of_turn>\n"
             "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    "mistral": "{%- if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set loop_messages = messages[1:] %}"
               "{%- else %}{% set loop_messages = messages %}{% endif %}{{ bos_token }}{% for m in loop_messages %}{% if m.role == 'user' %}"
               "{% if loop.last and system is defined %}{{ '[INST] ' + system + '\\n\\n' + m.content + '[/INST]' }}{% else %}{{ '[INST] ' + m.content + '[/INST]' }}{% endif %}"
               "{% elif m.role == 'assistant' %}{% generation %}{{ ' ' + m.content + eos_token }}{% endgeneration %}{% else %}{{ raise_exception('unknown role ' + m.role) }}{% endif %}{% endfor %}",
    "python": "{% for m in messages %}{% if m.content.startswith('Hello') or m.content.endswith('?') %}{{ loop.index }}:{{ m.content.lstrip().replace('a', 'A') }};{% continue %}{% endif %}"
              "{{ m | tojson }}{% if not loop.last %},{% endif %}{{ m.items() | list | length }}{{ m.get('name', '-') }}{% endfor %}",
}


def renderings(smollm_template):
    from transformers.utils.chat_template_utils import render_jinja_template

    rows = []
    for name, template in {"smollm2": smollm_template, **TEMPLATES}.items():
        for number, conversation in enumerate(CONVERSATIONS):
            for prompt in (False, True):
                rendered, _ = render_jinja_template([conversation], chat_template=template, add_generation_prompt=prompt,
                                                    bos_token="<s>", eos_token="</s>")
                rows.append({"template": name, "conversation": number, "add_generation_prompt": prompt, "text": rendered[0]})
    return {"templates": {"smollm2": smollm_template, **TEMPLATES}, "conversations": CONVERSATIONS, "rows": rows}


def main(smollm2, gemma3):
    from gguf import GGUFReader

    llama = Llama()
    strings = hostile_strings()
    models = {"smollm2-135m": llama.load(smollm2), "gemma3-270m": llama.load(gemma3)}
    ids = {name: [llama.tokenize(model, text) for text in strings] for name, model in models.items()}
    plain = {name: [llama.tokenize(model, text, parse_special=False) for text in strings] for name, model in models.items()}
    golden = {"strings": strings, "ids": {name: [" ".join(map(str, row)) for row in rows] for name, rows in ids.items()},
              "plain_sha256": {name: digest(rows) for name, rows in plain.items()}, "merges": unsplit_merges(strings), "pre_sha256": {}}
    names = re.findall(r'"([a-z0-9][a-z0-9.\-]*)"', "".join(re.findall(r"(?:row\(\s*&\[|names: &\[)([^\]]*)\]", open(PRE_TABLE).read())))
    with tempfile.TemporaryDirectory() as folder:
        for pre in names:
            path = with_pre(pre, golden["merges"], folder)
            model = llama.load(path)
            golden["pre_sha256"][pre] = digest([llama.tokenize(model, text) for text in strings])
            if os.environ.get("KEEP_PRE"):
                with open(os.path.join(os.environ["KEEP_PRE"], pre + ".json"), "w") as file:
                    json.dump([llama.tokenize(model, text) for text in strings], file)
            llama.lib.llama_model_free(model)
            os.remove(path)
            print(pre, golden["pre_sha256"][pre][:12])
    with open(os.path.join(GOLDEN, "tokenizer.json"), "w") as file:
        json.dump(golden, file, separators=(",", ":"), ensure_ascii=False)
        file.write("\n")
    template = GGUFReader(smollm2).fields["tokenizer.chat_template"].contents()
    with open(os.path.join(GOLDEN, "tokenizer_chat.json"), "w") as file:
        json.dump(renderings(template), file, indent=0, ensure_ascii=False)
        file.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
