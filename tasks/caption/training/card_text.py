"""The words of a captioner's card; card.py fills in what was measured. Knows no numbers."""

CARD = """# caption/{model}

Tells small composed scenes of emoji in a sentence: one to four things, their number, and how they lie to one
another ('two cats above a guitar'), in good light and bad, blurred, grainy or stored as JPEG. After {learned}:
{parameters:.2f} million weights. The departures are listed in tasks/caption/{file}.py, encoder.py and teller.py.

**It knows nothing but those scenes.** Another picture it describes as if it were one of them, which is wrong, and may
be said with confidence; the warning `out_of_domain` tells such pictures by the table below.

## Test

{tests} scenes of known compositions and {tests} of new ones, of the test seeds ({test}). Training
({train}) and validation ({validation}) never see these. A composition is a
pair of different things in one picture, or a number above one of a thing; a tenth of all is held out by a rule on
their names, training has seen no scene with any of them (not the encoder either), and every 'new' scene has at least
one, so there are two to four things in each. Exact: the whole caption. Things: every thing and its number. Relation:
the word for it, of the scenes that have one; whether the right thing is named first, 'exact' judges.

| | exact | things | relation |
|---|---|---|---|
{rows}

New compositions by how much there is to see (3 beams):

| | exact | things | relation |
|---|---|---|---|
{by_number}

The {confused_number} things most often missed (both sorts of scenes), with what was named instead:

| thing | missed | named instead |
|---|---|---|
{confused}

### Things it has never seen

{strange_number} things are held out altogether: {strange_names}.
It has no word for them. In {strange_scenes} scenes with one of them
{strange};
the strange thing itself it calls by the name of another, or passes over:

| thing | not named | named instead |
|---|---|---|
{instead}

A caption is called doubtful under a log-probability of {limit:.2f} (5 % of the right captions of {doubt_scenes}
validation scenes lie below). On the test scenes that marks
{doubts}.

## Pictures that it was not made for

{domain}

## Training

`python -m worker.train caption/encoder`, then `caption/{model}`, with BACKLOT_DATA, on one thread of a CPU shared with
much other work. Encoder: {encoder_steps} steps of {encoder_batch} pictures, each drawn once,
{encoder_minutes:.0f} minutes. Decoder: {steps} steps, {scenes:,} scenes, {minutes:.0f} minutes;
weights of step {best}, the best on 384 validation scenes of known compositions. {begun}AdamW, one cycle. curves.png has
the course. Input {config[side]} x {config[side]} pixels, encoder widths {config[encoder][widths]},
decoder {config[decoder]}; {words} tokens. Stored as float16.

Data: Noto Color Emoji pictures (Copyright Google LLC, Apache-2.0, googlefonts/noto-emoji, February 2024), English
names from Unicode CLDR (Unicode License v3). The things, {things}, are those that the rules of
tasks/caption/training/things.py take by their names and groups; none was chosen by results:

{names}.

## What it says of the samples

| picture | caption | log-probability | warnings |
|---|---|---|---|
{samples}
"""
