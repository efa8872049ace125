import { StringStream } from "@codemirror/language";
import { EditorState } from "@codemirror/state";
import { expect, test } from "vitest";
import { below, reader } from "./yaml";

/** Return the pieces of a text that have a colour: "propertyName name". */
function coloured(text: string): string[] {
  const state = reader.startState();
  return text.split("\n").flatMap((line) => {
    const found: string[] = [];
    const stream = new StringStream(line, 2, 2);
    while (!stream.eol()) {
      stream.start = stream.pos;
      const kind = reader.token(stream, state);
      expect(stream.pos).toBeGreaterThan(stream.start);
      if (kind !== null) found.push(`${kind} ${stream.current().trim()}`);
    }
    return found;
  });
}

test("keys, texts, comments and punctuation have their colours", () => {
  expect(coloured('name: plain text # why\n"a key": \'it\'\'s\'')).toEqual(["propertyName name", "separator :", "comment # why", 'propertyName "a key"', "separator :", "string 'it''s'"]);
  expect(coloured("- url: http://x/#top\n-\n- {a: 1, b: [c, 'd']}")).toEqual(["separator -", "propertyName url", "separator :", "separator -", "separator -", "brace {", "propertyName a", "separator :", "separator ,", "propertyName b", "separator :", "squareBracket [", "separator ,", "string 'd'", "squareBracket ]", "brace }"]);
  expect(coloured("%YAML 1.2\n---\na: &x !t 1\nb: *x")).toEqual(["keyword %YAML 1.2", "meta ---", "propertyName a", "separator :", "labelName &x", "typeName !t", "propertyName b", "separator :", "labelName *x"]);
});

test("the text of a block scalar has no keys, and ends with its indentation", () => {
  expect(coloured("- run: |\n    a: b\n\n    # c\n  next: d")).toEqual(["separator -", "propertyName run", "separator :", "string |", "propertyName next", "separator :"]);
});

test("a quoted text goes on over lines, and one value has no second key", () => {
  expect(coloured('a: "b\n  c: d" \ne: f')).toEqual(["propertyName a", "separator :", 'string "b', 'string c: d"', "propertyName e", "separator :"]);
  expect(coloured("when: a ? b : c")).toEqual(["propertyName when", "separator :", "separator :"]);
});

test("each character is read once, whatever is written", () => {
  for (const text of ["]", "}: ,", ":", "a:b", "?", "-", "|", "> x", "'", '"\\', "&", "*", "@x", "`", "[", "${ a ? {b: 1} : [2] }", "a: }"]) coloured(text);
});

test("a line folds what is indented deeper, and a key the items of its list", () => {
  const text = "nodes:\n  a:\n    type: x\n\n# note\n  b: 1\nlist:\n- 1\n- 2\nend: 1\n\n";
  const state = EditorState.create({ doc: text });
  const folded = (number: number) => {
    const { from, to } = state.doc.line(number);
    const found = below(state, from, to);
    return found && state.sliceDoc(found.from, found.to);
  };
  expect(folded(1)).toBe("\n  a:\n    type: x\n\n# note\n  b: 1");
  expect(folded(2)).toBe("\n    type: x");
  expect([3, 4, 5, 8, 10].map(folded)).toEqual([null, null, null, null, null]);
  expect(folded(7)).toBe("\n- 1\n- 2");
});
