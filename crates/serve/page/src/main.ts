// The page: three ways to look at what a cache policy does to a model's answers.

import "./style/page.css";
import "./style/answers.css";
import "./style/inspector.css";

import { Api, type Props, RequestFailure } from "./api";
import { Chat } from "./chat";
import { byId, within } from "./dom";
import { failureBox } from "./failure";
import { count } from "./format";
import { Inspector } from "./inspector";
import { ModelChoice } from "./models";
import { PolicyFields } from "./policies";
import { Settings } from "./settings";
import { SideBySide } from "./side-by-side";
import { Tabs } from "./tabs";

const settings = new Settings(() => void greet());
const api = new Api(() => settings.key);
const models = new ModelChoice(() => void greet());
const policies = new PolicyFields();
const tabs = new Tabs(within(document, "[role=tablist]", HTMLElement));
const inspector = new Inspector(api, settings);
new SideBySide(api, settings);
new Chat(api, settings, (answer) => {
  tabs.open("tab-inspector");
  inspector.show(answer);
});

/** Asks the server what it is, and says so of the chosen model at the top of the page. */
async function greet(): Promise<void> {
  const place = byId("server", HTMLElement);
  try {
    models.show(await api.models());
    const asked = models.chosen;
    const props = await api.props(asked);
    // Another one was chosen meanwhile, and is asked about.
    if (asked !== models.chosen) return;
    api.model = asked ?? props.model;
    policies.show(props);
    settings.showDefaults(props);
    place.textContent = describe(props);
    document.title = `${props.name ?? api.model} – Headwise`;
  } catch (problem) {
    place.replaceChildren(failureBox(problem));
    if (problem instanceof RequestFailure && problem.status === 401) byId("settings", HTMLDetailsElement).open = true;
  }
}

function describe(props: Props): string {
  const parts = [props.name ?? props.model];
  if (props.context) parts.push(`${count(props.context)} tokens of context`);
  if (props.cache) parts.push(`cache ${props.cache}`);
  if (props.version) parts.push(`version ${props.version}`);
  return parts.join(" · ");
}

void greet();
