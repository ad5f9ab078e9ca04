import assert from 'node:assert/strict';
import { test } from 'node:test';

import { changedCustomer, fieldsOf } from '../../../frontend/site/js/components/what-if.js';
import { EXAMPLES } from '../../../frontend/site/js/fields.js';

test('who gives up voice mail has no messages, who takes it up some, and who keeps it keeps them', () => {
  assert.equal(changedCustomer(EXAMPLES.loyal, { voiceMailPlan: 'no' }).numberOfVmailMessages, 0);
  assert.equal(changedCustomer(EXAMPLES.risk, { voiceMailPlan: 'yes' }).numberOfVmailMessages, 29);
  assert.equal(changedCustomer(EXAMPLES.loyal, { voiceMailPlan: 'yes' }).numberOfVmailMessages, 25);
});

test('a suggestion becomes fields: a lower bill is so much less use', () => {
  const fields = fieldsOf(EXAMPLES.risk, { customerServiceCalls: 2, billReduction: 0.1 });
  assert.deepEqual([fields.customerServiceCalls, fields.totalDayMinutes, fields.billReduction], [2, 133.7, undefined]);
  assert.deepEqual(fieldsOf(EXAMPLES.loyal, { voiceMailPlan: 'no' }), { voiceMailPlan: 'no' });
});
