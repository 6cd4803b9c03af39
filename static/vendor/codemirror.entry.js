// The code editor: CodeMirror 6 with the languages of the agent pages. Bundled into codemirror.js by build.sh.

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { javascript, javascriptLanguage } from '@codemirror/lang-javascript';
import { json } from '@codemirror/lang-json';
import { HighlightStyle, StreamLanguage, bracketMatching, foldGutter, foldKeymap, indentOnInput, indentUnit, syntaxHighlighting } from '@codemirror/language';
import { toml } from '@codemirror/legacy-modes/mode/toml';
import { lintGutter, lintKeymap, setDiagnostics } from '@codemirror/lint';
import { highlightSelectionMatches, searchKeymap } from '@codemirror/search';
import { EditorState } from '@codemirror/state';
import { EditorView, drawSelection, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers } from '@codemirror/view';
import { tags as t } from '@lezer/highlight';

const theme = EditorView.theme({
  '&': { color: 'var(--ink)', backgroundColor: 'var(--surface-1)', fontSize: '13px', height: '100%' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--font-mono)', lineHeight: '20px' },
  '.cm-content': { caretColor: 'var(--accent)', padding: '8px 0' },
  '.cm-cursor': { borderLeftColor: 'var(--accent)', borderLeftWidth: '2px' },
  '.cm-gutters': { backgroundColor: 'var(--surface-1)', color: 'var(--ink-faint)', border: 'none', paddingLeft: '4px' },
  '.cm-activeLine, .cm-activeLineGutter': { backgroundColor: 'var(--surface-hover)' },
  '&.cm-focused .cm-selectionBackground, .cm-selectionBackground, .cm-content ::selection': { backgroundColor: 'var(--selection) !important' },
  '.cm-matchingBracket, &.cm-focused .cm-matchingBracket': { backgroundColor: 'var(--surface-3)', outline: '1px solid var(--line-strong)' },
  '.cm-selectionMatch': { backgroundColor: 'var(--surface-3)' },
  '.cm-panels': { backgroundColor: 'var(--surface-2)', color: 'var(--ink)', borderColor: 'var(--line)' },
  '.cm-textfield': { backgroundColor: 'var(--surface-1)', border: '1px solid var(--line-strong)', color: 'var(--ink)', borderRadius: '4px' },
  '.cm-button': { backgroundImage: 'none', backgroundColor: 'var(--surface-1)', border: '1px solid var(--line-strong)', color: 'var(--ink)', borderRadius: '4px' },
  '.cm-tooltip': { backgroundColor: 'var(--surface-float)', color: 'var(--ink)', border: '1px solid var(--line)', borderRadius: '4px', boxShadow: 'var(--shadow)' },
  '.cm-tooltip-autocomplete ul li[aria-selected]': { backgroundColor: 'var(--accent-soft)', color: 'var(--ink)' },
  '.cm-diagnostic': { fontFamily: 'var(--font-sans)', padding: '4px 8px' },
  '.cm-diagnostic-error': { borderLeft: '3px solid var(--fail)' },
  '.cm-diagnostic-warning': { borderLeft: '3px solid var(--accent)' },
  '.cm-lintRange-error': { backgroundImage: 'none', textDecoration: 'underline wavy var(--fail) 1px', textUnderlineOffset: '3px' },
  '.cm-lintRange-warning': { backgroundImage: 'none', textDecoration: 'underline wavy var(--accent) 1px', textUnderlineOffset: '3px' },
  '.cm-gutter-lint': { width: '14px' },
  '.cm-gutter-lint .cm-gutterElement': { padding: '0' },
  '.cm-lint-marker': { width: '8px', height: '8px', margin: '6px 3px', borderRadius: '50%' },
  '.cm-lint-marker-error': { content: 'normal', backgroundColor: 'var(--fail)' },
  '.cm-lint-marker-warning': { content: 'normal', backgroundColor: 'var(--accent)' },
  '.cm-foldGutter span': { color: 'var(--ink-faint)' },
});

const colours = HighlightStyle.define([
  { tag: [t.keyword, t.modifier, t.controlKeyword], color: 'var(--code-keyword)' },
  { tag: [t.string, t.special(t.string), t.regexp], color: 'var(--code-string)' },
  { tag: [t.number, t.bool, t.null, t.atom], color: 'var(--code-number)' },
  { tag: [t.comment], color: 'var(--ink-faint)', fontStyle: 'italic' },
  { tag: [t.function(t.variableName), t.function(t.propertyName), t.definition(t.function(t.variableName))], color: 'var(--code-function)' },
  { tag: [t.propertyName, t.attributeName], color: 'var(--code-property)' },
  { tag: [t.heading], color: 'var(--code-keyword)' },
  { tag: [t.invalid], color: 'var(--fail)' },
]);

/** What `station.` offers, so that the editor can say it. */
const stationWords = [
  ['station.step(name, fn)', 'station.step'], ['station.models.chat({…})', 'station.models.chat'], ['station.models.runTools({…})', 'station.models.runTools'], ['station.http.send({…})', 'station.http.send'],
  ['station.memory.get(key)', 'station.memory.get'], ['station.memory.put(key, value)', 'station.memory.put'], ['station.memory.list({…})', 'station.memory.list'],
  ['station.tools.call(name, arguments)', 'station.tools.call'],
  ['station.artifacts.put(name, body, type)', 'station.artifacts.put'], ['station.timeline.log(level, text)', 'station.timeline.log'],
  ['station.timeline.progress({…})', 'station.timeline.progress'], ['station.timeline.emit(kind, data)', 'station.timeline.emit'], ['station.clock.now()', 'station.clock.now'],
].map(([label, apply]) => ({ label, apply, type: 'function' }));

function completeStation(context) {
  const word = context.matchBefore(/station[\w.]*/);
  return word && (word.to > word.from) ? { from: word.from, options: stationWords, validFor: /^[\w.]*$/ } : null;
}

const languages = {
  javascript: () => [javascript(), javascriptLanguage.data.of({ autocomplete: completeStation })],
  toml: () => [StreamLanguage.define(toml)],
  json: () => [json()],
  text: () => [],
};

/**
 * An editor inside a shadow root of `host`: there its style sheets are adopted ones, which the page's CSP lets pass.
 * `findings` are {severity, line, column, message}, lines and columns from 1, line 0 for the whole file.
 */
export function createEditor(host, { text, language, label, readOnly = false, onChange }) {
  const root = host.shadowRoot ?? host.attachShadow({ mode: 'open' });
  const extensions = [
    lineNumbers(), foldGutter(), lintGutter(), history(), drawSelection(), indentOnInput(), bracketMatching(), closeBrackets(), autocompletion(),
    highlightActiveLine(), highlightActiveLineGutter(), highlightSelectionMatches(), indentUnit.of('  '), EditorState.tabSize.of(2),
    syntaxHighlighting(colours), theme, (languages[language] ?? languages.text)(),
    EditorView.contentAttributes.of({ 'aria-label': label, 'aria-description': 'Press Escape, then Tab, to leave the editor.' }),
    keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap, ...foldKeymap, ...completionKeymap, ...lintKeymap, indentWithTab]),
    EditorView.updateListener.of((update) => { if (update.docChanged) onChange?.(update.state.doc.toString()); }),
    readOnly ? [EditorState.readOnly.of(true), EditorView.editable.of(false)] : [],
  ];
  const view = new EditorView({ root, parent: root, state: EditorState.create({ doc: text, extensions }) });
  return {
    text: () => view.state.doc.toString(),
    replace: (next) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: next } }),
    focus: () => view.focus(),
    goTo(line, column = 1) {
      const at = view.state.doc.line(Math.min(Math.max(line, 1), view.state.doc.lines));
      const anchor = Math.min(at.from + Math.max(column - 1, 0), at.to);
      view.dispatch({ selection: { anchor }, effects: EditorView.scrollIntoView(anchor, { y: 'center' }) });
      view.focus();
    },
    show(findings) {
      const doc = view.state.doc;
      const diagnostics = findings.map(({ severity, line, column, message }) => {
        const at = doc.line(Math.min(Math.max(line, 1), doc.lines));
        const from = line === 0 ? at.from : Math.min(at.from + Math.max(column - 1, 0), at.to);
        const word = /^[\w$-]+/.exec(doc.sliceString(from, at.to));
        return { from, to: word ? from + word[0].length : Math.min(from + 1, at.to), severity, message };
      });
      view.dispatch(setDiagnostics(view.state, diagnostics));
    },
  };
}
