/** The text editor: CodeMirror in a shadow root, so that its style sheets pass the policy of the page. */
import { acceptCompletion, autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, completionStatus, startCompletion, type Completion, type CompletionContext } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { bracketMatching, foldGutter, foldKeymap, HighlightStyle, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, nextDiagnostic, setDiagnostics, type Diagnostic } from "@codemirror/lint";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, StateEffect, StateField, type StateCommand, type Text } from "@codemirror/state";
import { closeHoverTooltips, Decoration, drawSelection, dropCursor, EditorView, hasHoverTooltips, highlightActiveLine, highlightActiveLineGutter, hoverTooltip, keymap, lineNumbers, MatchDecorator, showTooltip, ViewPlugin, type DecorationSet, type Tooltip, type ViewUpdate } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { useEffect, useRef } from "preact/hooks";
import { editor as texts } from "../texts/editor";
import type { Completions } from "./complete";
import type { Fault } from "./faults";
import { yaml } from "./yaml";

export interface CodeProps {
  /** The text at first. Later ones come by `CodeHandle.replace`: what is typed must never race with what is shown. */
  initial: string;
  isReadOnly?: boolean;
  label?: string;
  faults: readonly Fault[];
  onChange: (text: string) => void;
  /** Called with the offset of the cursor. */
  onCursor?: (offset: number) => void;
  complete: (text: string, offset: number) => Completions | null;
  /** Return what is known about a place. */
  describe: (text: string, offset: number) => Promise<Hover | null>;
  onSave?: () => void;
  onRun?: () => void;
  /** Receives what others do with the editor. */
  onReady?: (handle: CodeHandle) => void;
}

export interface Hover {
  readonly from: number;
  readonly to: number;
  readonly title: string;
  readonly type: string | undefined;
  readonly text: string | undefined;
  readonly notes: readonly string[];
}

export interface CodeHandle {
  /** Move the cursor, show it, and give the editor the focus if asked. Args: from: Where the selection begins that ends there. */
  reveal(offset: number, focus?: boolean, from?: number): void;
  /** Replace the whole text as one step that can be undone. */
  replace(text: string): void;
  focus(): void;
  /** Return the place of the cursor, or undefined if the editor does not have the focus. */
  cursor(): number | undefined;
}

export function Code(props: CodeProps) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | undefined>(undefined);
  const latest = useRef(props);
  latest.current = props;
  const readOnly = useRef(new Compartment());

  useEffect(() => {
    const root = host.current!.shadowRoot ?? host.current!.attachShadow({ mode: "open" });
    const made = new EditorView({ parent: root, root, state: EditorState.create({ doc: props.initial, extensions: [extensions(latest), readOnly.current.of(EditorState.readOnly.of(props.isReadOnly ?? false))] }) });
    view.current = made;
    props.onReady?.(handleOf(made));
    return () => made.destroy();
  }, []);

  useEffect(() => {
    view.current!.dispatch({ effects: readOnly.current.reconfigure(EditorState.readOnly.of(props.isReadOnly ?? false)) });
  }, [props.isReadOnly]);

  useEffect(() => {
    const made = view.current!;
    made.dispatch(setDiagnostics(made.state, props.faults.map((fault) => diagnosticOf(fault, made.state.doc))));
  }, [props.faults]);

  return <div class="code-host" ref={host} />;
}

function handleOf(view: EditorView): CodeHandle {
  return {
    reveal(offset, focus, from = offset) {
      const at = Math.min(offset, view.state.doc.length);
      view.dispatch({ selection: { anchor: Math.min(from, at), head: at }, effects: EditorView.scrollIntoView(at, { y: "center" }) });
      if (focus) view.focus();
    },
    replace: (text) => replaceAll(view, text),
    focus: () => view.focus(),
    cursor: () => (view.hasFocus ? view.state.selection.main.head : undefined),
  };
}

/** Replace only what differs, so that the cursor, the scroll position and the history stay useful. */
function replaceAll(view: EditorView, text: string): void {
  const before = view.state.doc.toString();
  let from = 0;
  while (from < before.length && from < text.length && before[from] === text[from]) from++;
  let [end, newEnd] = [before.length, text.length];
  while (end > from && newEnd > from && before[end - 1] === text[newEnd - 1]) {
    end--;
    newEnd--;
  }
  view.dispatch({ changes: { from, to: end, insert: text.slice(from, newEnd) } });
}

function extensions(latest: { readonly current: CodeProps }) {
  return [
    lineNumbers(),
    lintGutter(),
    foldGutter(),
    history(),
    // The style sheet of the page does not reach into the shadow root.
    drawSelection({ cursorBlinkRate: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 1200 }),
    dropCursor(),
    highlightActiveLine(),
    highlightActiveLineGutter(),
    highlightSelectionMatches(),
    indentUnit.of("  "),
    bracketMatching(),
    closeBrackets(),
    search({ top: true }),
    yaml,
    syntaxHighlighting(colours),
    expressions,
    theme,
    autocompletion({ override: [(context) => completionsFor(context, latest.current)], icons: false, maxRenderedOptions: 60 }),
    tooltips(latest),
    EditorView.contentAttributes.of({ "aria-label": latest.current.label ?? texts.label, tabindex: "0" }),
    EditorView.domEventHandlers({ beforeinput: replaceSelection }),
    EditorView.updateListener.of((update) => report(update, latest.current)),
    keymap.of([
      { key: "Mod-s", preventDefault: true, run: () => (latest.current.onSave?.(), true) },
      { key: "Mod-Enter", preventDefault: true, run: () => (latest.current.onRun?.(), latest.current.onRun !== undefined) },
      { key: "F8", run: nextDiagnostic },
      { key: "F1", preventDefault: true, run: (view) => (void describeAtCursor(view, latest.current), true) },
      { key: "Escape", run: (view) => view.state.field(asked) !== null && (view.dispatch({ effects: ask.of(null) }), true) },
      // Otherwise it leaves the editor.
      { key: "Tab", run: (view) => completionStatus(view.state) === "active" && (acceptCompletion(view), true) },
      { key: "Enter", run: newLine },
      ...closeBracketsKeymap,
      ...defaultKeymap,
      ...searchKeymap,
      ...historyKeymap,
      ...foldKeymap,
      ...completionKeymap,
    ]),
  ];
}

/** Begin a line where the next key is likely: deeper below `key:`, aligned within an item of a list. */
const newLine: StateCommand = ({ state, dispatch }) => {
  const { from, to } = state.selection.main;
  const line = state.doc.lineAt(from);
  const before = state.sliceDoc(line.from, from);
  const open = /^\s*/.exec(before)![0].length;
  const item = /^\s*((?:-\s+)+)[^\s#]/.exec(before)?.[1]?.length ?? 0;
  const deeper = /(^|\s|[\w"'])[^#]*:\s*([|>][-+]?)?\s*(#.*)?$/.test(before) && !/[{[]/.test(before) ? 2 : 0;
  const insert = `\n${" ".repeat(open + item + deeper)}`;
  dispatch(state.update({ changes: { from, to, insert }, selection: { anchor: from + insert.length }, scrollIntoView: true, userEvent: "input" }));
  return true;
};

/**
 * Replace the selection by what is typed.
 *
 * Chromium would do it by itself, and write the colours of the replaced text into a `style` attribute, which the policy of
 * the page rejects.
 */
function replaceSelection(event: InputEvent, view: EditorView): boolean {
  const { from, to, empty } = view.state.selection.main;
  const text = event.data;
  if (event.inputType !== "insertText" || text === null || empty || view.composing) return false;
  event.preventDefault();
  const insert = () => view.state.update(view.state.replaceSelection(text), { userEvent: "input.type", scrollIntoView: true });
  if (!view.state.facet(EditorView.inputHandler).some((handle) => handle(view, from, to, text, insert))) view.dispatch(insert());
  return true;
}

function report(update: ViewUpdate, props: CodeProps): void {
  if (update.docChanged) props.onChange(update.state.doc.toString());
  if (update.selectionSet || update.docChanged) props.onCursor?.(update.state.selection.main.head);
}

function completionsFor(context: CompletionContext, props: CodeProps) {
  const before = context.state.sliceDoc(Math.max(0, context.pos - 1), context.pos);
  // Without a request, completion opens behind a letter, and where a value or a name begins.
  if (!context.explicit && !/[\w.${[\- :]/.test(before)) return null;
  const found = props.complete(context.state.doc.toString(), context.pos);
  if (found === null) return null;
  const isBegun = context.pos > found.from;
  if (!context.explicit && !isBegun && !/[.{ ]/.test(before)) return null;
  return {
    from: found.from,
    to: found.to,
    validFor: /^[\w.-]*$/,
    options: found.items.map(
      (item): Completion => ({
        label: item.label,
        detail: item.detail,
        info: item.info,
        boost: item.boost,
        type: item.kind,
        apply: (view, _, from, to) => {
          const insert = item.insert ?? item.label;
          view.dispatch({ changes: { from, to: Math.max(to, found.to), insert }, selection: { anchor: from + insert.length }, userEvent: "input.complete", scrollIntoView: true });
          if (item.goesOn) startCompletion(view);
        },
      }),
    ),
  };
}

/** Return whether a key types or moves; with Ctrl, a text of a tooltip may be copied. */
const isTyped = ({ key, ctrlKey, metaKey }: KeyboardEvent) => !ctrlKey && !metaKey && !["Alt", "Control", "Meta", "Shift"].includes(key);

function tooltips(latest: { readonly current: CodeProps }) {
  // From a key until the mouse moves: a tooltip would cover what is typed.
  let isTyping = false;
  return [
    asked,
    hoverTooltip(async (view, offset) => {
      const found = isTyping ? null : await tooltipFor(view, offset, latest.current);
      // A key may have been pressed while it was loaded.
      return isTyping ? null : found;
    }),
    EditorView.domEventObservers({
      mousemove: () => void (isTyping = false),
      keydown: (event, view) => {
        if (!isTyped(event)) return;
        isTyping = true;
        if (hasHoverTooltips(view.state)) view.dispatch({ effects: closeHoverTooltips });
      },
    }),
  ];
}

async function tooltipFor(view: EditorView, offset: number, props: CodeProps) {
  const found = await props.describe(view.state.doc.toString(), offset);
  if (found === null) return null;
  return { pos: found.from, end: found.to, above: true, create: () => ({ dom: domOf(found) }) };
}

const ask = StateEffect.define<Tooltip | null>();
/** What a key has asked for, until the text or the cursor changes. */
const asked = StateField.define<Tooltip | null>({
  create: () => null,
  update: (shown, { effects, docChanged, selection }) => effects.reduce((last, effect) => (effect.is(ask) ? effect.value : last), docChanged || selection ? null : shown),
  provide: (field) => showTooltip.from(field),
});

/** Show what the mouse would show at the cursor, and have it read aloud. */
async function describeAtCursor(view: EditorView, props: CodeProps): Promise<void> {
  const { doc, selection } = view.state;
  const tooltip = await tooltipFor(view, selection.main.head, props);
  // The text or the cursor may have changed while it was loaded.
  if (tooltip === null || view.state.doc !== doc || !view.state.selection.eq(selection)) return;
  const said = Array.from(tooltip.create().dom.children, ({ textContent }) => textContent).join(". ");
  view.dispatch({ effects: [ask.of(tooltip), EditorView.announce.of(said)] });
}

function domOf(hover: Hover): HTMLElement {
  const dom = document.createElement("div");
  dom.className = "cm-docs";
  const head = dom.appendChild(document.createElement("div"));
  head.appendChild(document.createElement("b")).textContent = hover.title;
  if (hover.type !== undefined) head.appendChild(document.createElement("span")).textContent = ` ${hover.type}`;
  for (const text of [hover.text, ...hover.notes]) if (text !== undefined) dom.appendChild(document.createElement("p")).textContent = text;
  return dom;
}

function diagnosticOf(fault: Fault, text: Text): Diagnostic {
  const from = Math.min(fault.from, text.length);
  const to = Math.min(Math.max(fault.to, from), text.length);
  const message = fault.hint === undefined ? fault.message : `${fault.message}\n${fault.hint}`;
  const { fix } = fault;
  return {
    from,
    to,
    severity: fault.isWarning ? "warning" : "error",
    message,
    actions: fix && [{ name: texts.fix(fix.insert), apply: (view) => view.dispatch({ changes: fix, userEvent: "input.fix" }) }],
  };
}

const colours = HighlightStyle.define([
  { tag: tags.propertyName, color: "var(--accent)" },
  { tag: tags.string, color: "var(--ok)" },
  { tag: [tags.comment, tags.meta], color: "var(--faint)", fontStyle: "italic" },
  { tag: [tags.separator, tags.squareBracket, tags.brace], color: "var(--muted)" },
  { tag: [tags.keyword, tags.labelName, tags.typeName], color: "var(--wait)" },
]);

const expressionMarks = new MatchDecorator({
  regexp: /\$?\$\{(?:[^{}]|\{[^{}]*\})*\}?/g,
  decoration: (match) => (match[0].startsWith("$$") ? Decoration.mark({}) : Decoration.mark({ class: "cm-expression" })),
});

const expressions = ViewPlugin.fromClass(
  class {
    marks: DecorationSet;
    constructor(view: EditorView) {
      this.marks = expressionMarks.createDeco(view);
    }
    update(update: ViewUpdate) {
      this.marks = expressionMarks.updateDeco(update, this.marks);
    }
  },
  { decorations: ({ marks }) => marks },
);

const theme = EditorView.theme({
  // The numbers of the lines would cover an outline within them; the padding is its place.
  "&": { height: "100%", padding: "1px", fontSize: "13px", color: "var(--text)", background: "var(--surface)" },
  // A border, or a layer above the text, makes a key take five times as long until it is painted.
  "&.cm-focused": { outline: "1px solid var(--accent)", outlineOffset: "-1px" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.65", fontFeatureSettings: '"calt" 0' },
  ".cm-content": { padding: "12px 0", caretColor: "var(--text)" },
  ".cm-line": { padding: "0 16px 0 6px" },
  ".cm-gutters": { background: "var(--surface)", color: "var(--faint)", border: "none" },
  ".cm-lineNumbers .cm-gutterElement": { padding: "0 6px 0 14px", minWidth: "38px" },
  ".cm-gutter-lint": { width: "14px" },
  ".cm-gutter-lint .cm-gutterElement": { padding: "0 0 0 3px" },
  ".cm-lint-marker": { width: "9px", height: "9px", borderRadius: "99px", content: "none", marginTop: "6px" },
  ".cm-lint-marker-error": { background: "var(--bad)" },
  ".cm-lint-marker-warning": { background: "var(--wait)" },
  ".cm-activeLine": { background: "color-mix(in oklab, var(--accent-soft) 55%, transparent)" },
  ".cm-activeLineGutter": { background: "transparent", color: "var(--text)" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { background: "color-mix(in oklab, var(--accent) 26%, transparent)" },
  ".cm-selectionMatch": { background: "color-mix(in oklab, var(--wait) 22%, transparent)" },
  "&.cm-focused .cm-matchingBracket": { background: "var(--accent-soft)", outline: "1px solid var(--accent)" },
  ".cm-foldPlaceholder": { background: "var(--off-soft)", border: "none", color: "var(--muted)", padding: "0 6px" },
  ".cm-expression, .cm-expression span": { color: "var(--wait)" },
  ".cm-lintRange-error": { backgroundImage: "none", textDecoration: "underline wavy var(--bad)", textUnderlineOffset: "3px" },
  ".cm-lintRange-warning": { backgroundImage: "none", textDecoration: "underline wavy var(--wait)", textUnderlineOffset: "3px" },
  ".cm-lintPoint::after": { borderBottomColor: "var(--bad)" },
  ".cm-tooltip": { background: "var(--raised)", color: "var(--text)", border: "1px solid var(--line-strong)", borderRadius: "8px", boxShadow: "var(--shadow)", overflow: "hidden", fontFamily: "var(--font)" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", fontSize: "12.5px", maxHeight: "17em", minWidth: "230px" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: "4px 10px", display: "flex", gap: "14px", lineHeight: "1.4" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]": { background: "var(--accent-soft)", color: "var(--accent)" },
  ".cm-completionMatchedText": { textDecoration: "none", fontWeight: "600" },
  ".cm-completionDetail": { marginLeft: "auto", fontStyle: "normal", color: "var(--muted)", fontFamily: "var(--font)", fontSize: "12px" },
  ".cm-tooltip.cm-completionInfo": { padding: "8px 12px", maxWidth: "320px", fontSize: "12.5px", lineHeight: "1.5" },
  ".cm-docs": { padding: "8px 12px", maxWidth: "420px", fontSize: "12.5px", lineHeight: "1.5" },
  ".cm-docs b": { fontFamily: "var(--mono)", fontWeight: "600" },
  ".cm-docs span": { color: "var(--muted)" },
  ".cm-docs p": { margin: "4px 0 0" },
  ".cm-diagnostic": { padding: "7px 12px", borderLeft: "4px solid var(--bad)", whiteSpace: "pre-wrap", fontSize: "12.5px", maxWidth: "480px" },
  ".cm-diagnostic-warning": { borderLeftColor: "var(--wait)" },
  ".cm-diagnosticAction": { background: "var(--accent)", color: "var(--on-accent)", borderRadius: "5px", padding: "3px 9px", margin: "4px 0 0", display: "inline-block", font: "inherit" },
  ".cm-panels": { background: "var(--raised)", color: "var(--text)", borderColor: "var(--line)" },
  ".cm-panels input, .cm-panels button": { font: "12.5px var(--font)", color: "var(--text)", background: "var(--surface)", border: "1px solid var(--line-strong)", borderRadius: "5px", padding: "3px 8px", backgroundImage: "none" },
  ".cm-panels input[type=checkbox]": { accentColor: "var(--accent)" },
  ".cm-panels label": { font: "12.5px var(--font)" },
  ".cm-searchMatch": { background: "color-mix(in oklab, var(--wait) 30%, transparent)" },
  ".cm-searchMatch-selected": { background: "color-mix(in oklab, var(--wait) 60%, transparent)" },
});
