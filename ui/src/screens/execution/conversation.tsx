/** The conversation of a language model as turns: who says what, which tools are called, and what they answer. */
import { isMap } from "../../graph/document";
import { Json } from "../../parts/json";
import { visible } from "../../parts/visible";
import { conversation as texts } from "../../texts/conversation";

type Message = Readonly<Record<string, unknown>>;

/** Characters above which a text is folded, and those of it that are seen then. */
const LONG = 600;
const SHOWN = 160;

interface Found {
  readonly messages: readonly Message[];
  /** What the value has besides. */
  readonly others: Message;
}

/** Return the messages of a value: those that a model was sent, and what it has answered; undefined if there are none. Args: type: That of the step whose value it is. */
export function conversationIn(value: unknown, type: string | undefined): Found | undefined {
  if ((type !== "llm" && type !== "agent") || !isMap(value)) return undefined;
  const { system, ...given } = value;
  const found = spokenIn(given);
  if (found === undefined || found.messages.length === 0 || !found.messages.every((each) => isMap(each) && typeof each.role === "string")) return undefined;
  if (system === undefined) return found;
  if (typeof system !== "string") return { ...found, others: { system, ...found.others } };
  return { ...found, messages: [{ role: "system", content: system }, ...found.messages] };
}

function spokenIn(value: Message): Found | undefined {
  if (Array.isArray(value.messages)) {
    const { messages, ...others } = value;
    return { messages: messages as Message[], others };
  }
  if (value.model === undefined) return undefined;
  if (typeof value.prompt === "string") {
    const { prompt: content, ...others } = value;
    return { messages: [{ role: "user", content }], others };
  }
  if (!Array.isArray(value.tool_calls)) return undefined;
  const { content, tool_calls, ...others } = value;
  return { messages: [{ role: "assistant", content, tool_calls }], others };
}

interface Call {
  readonly id?: unknown;
  readonly name?: unknown;
  readonly arguments?: unknown;
}

/** Return the calls of a message: also those in the form of OpenAI, with a text of JSON as the arguments. */
export function callsOf({ tool_calls: calls }: Message): readonly Call[] {
  return Array.isArray(calls) ? calls.filter(isMap).map(({ function: called, ...own }) => {
    const call: Call = isMap(called) ? { ...own, ...called } : own;
    return typeof call.arguments === "string" ? { ...call, arguments: jsonOf(call.arguments) } : call;
  }) : [];
}

export function Conversation({ messages }: { messages: readonly Message[] }) {
  // Ids of calls are those of a turn: the last call of this id is the one that is answered.
  const names = new Map<unknown, unknown>();
  let turn = 0;
  return (
    <ol class="conversation">
      {messages.map((message, i) => {
        const { role, content, tool_call_id: answered } = message;
        const calls = callsOf(message);
        for (const { id, name } of calls) names.set(id, name);
        const isAnswer = role === "tool";
        return (
          <li key={i} class={role === "assistant" || isAnswer ? undefined : "asked"}>
            <p class="muted small">{isAnswer ? texts.answers(visible(String(names.get(answered) ?? answered))) : texts.roles[String(role)] ?? String(role)}{role === "assistant" && messages.length > 1 && ` · ${texts.turn(++turn)}`}</p>
            {content !== null && content !== undefined && content !== "" && <Text text={content} isData={isAnswer} />}
            {calls.map(({ name, arguments: given }, j) => (
              <div key={j} class="stack tight">
                <p class="small">{texts.calls} <b class="mono">{visible(String(name))}</b></p>
                {!(isMap(given) && Object.keys(given).length === 0) && <Json label={texts.argumentsOf(String(name))} value={given} />}
              </div>
            ))}
          </li>
        );
      })}
    </ol>
  );
}

/** A text, or the JSON that a tool has answered with; folded if it is long. */
function Text({ text, isData }: { text: unknown; isData: boolean }) {
  const value = isData && typeof text === "string" ? jsonOf(text) : text;
  const shown = typeof value === "string" ? <p class="said">{visible(value)}</p> : <Json label={texts.data} value={value} />;
  const whole = typeof text === "string" ? text : JSON.stringify(text);
  if (whole.length <= LONG) return shown;
  return <details><summary class="small"><span class="said">{visible(whole.slice(0, SHOWN))}…</span> <span class="muted">{texts.more(whole.length)}</span></summary>{shown}</details>;
}

/** Return a map or a list that a text writes as JSON, else the text. */
function jsonOf(text: string): unknown {
  try {
    const value = JSON.parse(text) as unknown;
    return typeof value === "object" && value !== null ? value : text;
  } catch {
    return text;
  }
}
