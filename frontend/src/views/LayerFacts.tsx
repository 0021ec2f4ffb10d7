/** Facts of a layer: type, shape, dtype, optimizer, learning rate at the cursor, initial scale against the expected one. */

import { useComputed } from "@preact/signals";
import type { ComponentChildren } from "preact";
import type { LayerResponse, ParameterInfo } from "../api/types";
import { upperBound } from "../charts/columns";
import { number } from "../lib/format";
import { cursor } from "../state/store";
import { SeverityIcon, VerdictIcon } from "./Icons";

export function LayerFacts({ data }: { data: LayerResponse }) {
  const { layer, learning_rate } = data;
  const bias = layer.parameters.find(({ name }) => /(^|\.|_)bias$/.test(name));
  const main =
    layer.parameters.find(({ name }) => /(^|\.)weight$/.test(name)) ??
    [...layer.parameters].sort((a, b) => b.numel - a.numel)[0];
  const total = layer.parameters.reduce((sum, parameter) => sum + parameter.numel, 0);
  return (
    <dl class="layer-facts">
      <Fact name="Type">{layer.type}</Fact>
      {main && <Fact name={lastPart(main.name)}>{main.shape.length ? main.shape.join(" × ") : "scalar"}</Fact>}
      {main && <Fact name="Dtype">{main.dtype}</Fact>}
      <Fact name="Parameters">{total ? total.toLocaleString("en-US") : "none"}</Fact>
      {main && <Fact name="Optimizer group">{optimizerWords(main)}</Fact>}
      {learning_rate && learning_rate.steps.length > 0 && (
        <Fact name="Learning rate at cursor">
          <LearningRate rate={learning_rate} />
        </Fact>
      )}
      {main && main.initial_rms !== null && (
        <Fact name="Initial scale">
          <InitialScale value={main.initial_rms} expected={main.expected_rms} />
        </Fact>
      )}
      {main && <Fact name="Bias">{biasWords(bias)}</Fact>}
    </dl>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function lastPart(name: string): string {
  const part = name.slice(name.lastIndexOf(".") + 1);
  return part.charAt(0).toUpperCase() + part.slice(1);
}

function optimizerWords({ optimizer, group, weight_decay, trainable }: ParameterInfo): string {
  if (!trainable) return "frozen";
  if (optimizer === null) return "in no optimizer";
  const decay = weight_decay ? `, weight decay ${number(weight_decay)}` : "";
  return `${optimizer}${group === null ? "" : ` ${group}`}${decay}`;
}

function biasWords(bias: ParameterInfo | undefined): string {
  if (!bias) return "no";
  return bias.initial_rms === null ? "yes" : `yes, initial ${number(bias.initial_rms)}`;
}

function LearningRate({ rate }: { rate: NonNullable<LayerResponse["learning_rate"]> }) {
  const text = useComputed(() => {
    const last = rate.steps.length - 1;
    const at = cursor.value === null ? last : Math.max(0, upperBound(rate.steps, cursor.value) - 1);
    return number(rate.values[at]);
  });
  return <>{text}</>;
}

function InitialScale({ value, expected }: { value: number; expected: readonly [number, number] | null }) {
  if (!expected) return <>{number(value)}</>;
  const fits = value >= expected[0] && value <= expected[1];
  return (
    <span class="initial-scale" title={fits ? "as expected" : "not as expected"}>
      {`${number(value)}, expected ${number(expected[0])} to ${number(expected[1])}`}
      {fits ? <VerdictIcon verdict="healthy" /> : <SeverityIcon severity="warning" />}
    </span>
  );
}
