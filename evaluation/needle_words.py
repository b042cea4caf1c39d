"""The words that needles are drawn from.

A template is its sentences and its question; its values stand at the end of the block.
What follows "a" begins with a consonant, and no value is a part of a common word, since an answer
is right when it contains the value.
"""

SYLLABLES = """
Bel, Bro, Cal, Dor, Dra, Em, Fal, Fen, Gor, Hal, Hes, Jor, Kas, Kel, Lor, Lun, Mel, Nar, Nim, Os, Tor
a, e, i, o, u, ba, da, de, di, do, ga, la, le, li, lo, ma, mi, mo, na, no, ra, ri, sa, ta, ti, ve, vi
bram, brin, dorn, drel, dun, fell, gard, hult, kesh, lund, mund, neth, quin, resk, rond, skar, thal, vik
, , a, is
"""
MONTHS = (
    "January, February, March, April, May, June, July, August, September, October, November, "
    "December"
)
WEEKDAYS = "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday"

FACTS = """
{name} earned a living as a {value}.
What did {name} do for a living?
= glassblower, beekeeper, cartographer, locksmith, saddler, clockmaker, bookbinder, weaver, farrier,
= thatcher, goldsmith, midwife, surveyor, lamplighter, stonemason, chandler, falconer, barber

The front door of {name} House is painted {value}.
Which colour is the front door of {name} House?
= turquoise, crimson, lilac, ochre, scarlet, emerald, ivory, maroon, indigo, saffron, violet, beige,
= magenta, purple, lavender, charcoal

The coat of arms of {name} shows a {value}.
Which animal is on the coat of arms of {name}?
= heron, badger, falcon, lynx, beaver, salmon, tortoise, hedgehog, walrus, pelican, raven, weasel,
= gazelle, leopard, dolphin, rooster, buffalo, squirrel, jackal, panther

The old bridge at {name} was built of {value}.
What material is the old bridge at {name} made of?
= limestone, granite, copper, bamboo, slate, marble, basalt, sandstone, cedar wood, bronze, cast iron,
= red brick, driftwood, porcelain, concrete, chestnut beams

The orchards of {name} grow only {value}.
Which fruit do the orchards of {name} grow?
= quinces, apricots, cherries, mulberries, medlars, nectarines, pomegranates, damsons, tangerines,
= gooseberries, persimmons, kumquats, lychees, papayas, blackcurrants

{name} plays the {value} in the town band.
Which instrument does {name} play?
= cello, bassoon, mandolin, trombone, accordion, clarinet, viola, dulcimer, piccolo, xylophone, banjo,
= harpsichord, bagpipes, glockenspiel, trumpet, zither, saxophone, kettledrum

The spare key of the {name} cabin lies under the {value}.
Where does the spare key of the {name} cabin lie?
= flour barrel, stone bench, blue flowerpot, doormat, sundial, woodpile, milk churn, third step,
= bird bath, coal bucket, garden gnome, wheelbarrow, rusty anchor, tool chest, loose brick, beehive

The island of {name} is known for its {value}.
What is the island of {name} known for?
= smoked eels, honey, wool blankets, pottery, salt caves, black pearls, wooden clocks, hot springs,
= blue cheese, saffron bread, kites, hand bells, wild ponies, glass beads, orchids, giant crabs

Captain {name} drinks nothing but {value}.
What does Captain {name} drink?
= buttermilk, elderflower tea, ginger beer, cold coffee, barley water, peppermint tea, plum wine,
= cocoa, rainwater, goat milk, lemonade, birch sap, tonic water, hot chocolate, carrot juice

The oldest tree in {name} is a {value}.
What kind of tree is the oldest one in {name}?
= linden, chestnut, sycamore, larch, hornbeam, juniper, hawthorn, willow, poplar, walnut, cypress,
= rowan, mulberry, magnolia, cedar, beech, spruce, hazel, maple
"""

NUMBERS = """
The maintenance code of the {name} lock is {value}.
Which maintenance code does the {name} lock have?
The library of {name} holds {value} books.
How many books are in the library of {name}?
The {name} telescope was sold for {value} crowns.
How many crowns did the {name} telescope cost?
The police report on {name} has the number {value}.
What is the number of the police report on {name}?
The {name} mill ground {value} sacks of rye last year.
How many sacks of rye did the {name} mill grind last year?
The radio beacon on {name} sends the number {value}.
Which number does the radio beacon on {name} send?
The town of {name} has {value} inhabitants.
How many people live in the town of {name}?
= {number}
"""

MOMENTS = """
The {name} fair opens on {value}.
On what date does the {name} fair open?
{name} was born on {value}.
On what date is the birthday of {name}?
The lease of the {name} boathouse ends on {value}.
On what date does the lease of the {name} boathouse run out?
= {date}

The ferry to {name} leaves every {value}.
On which day and at what time does the ferry to {name} leave?
The {name} choir meets every {value}.
On which day and at what time does the {name} choir meet?
= {time}

The {name} lighthouse was first lit in {value}.
In which year was the {name} lighthouse lit for the first time?
The {name} tunnel collapsed in {value}.
In which year did the {name} tunnel collapse?
= {year}
"""

SEVERAL = """
One stone in the {name} collection is a {value}.
Another stone in the {name} collection is a {value}.
The last stone in the {name} collection is a {value}.
Which three stones are in the {name} collection?
= garnet, topaz, ruby, jasper, beryl, moonstone, sapphire, turquoise, malachite, diamond, peridot,
= tourmaline, zircon, bloodstone

The recipe for {name} stew calls for {value}.
Cooks always add {value} to {name} stew.
No {name} stew is made without {value}.
Which three ingredients go into {name} stew?
= barley, parsnips, juniper berries, mutton, lentils, nutmeg, turnips, red cabbage, dried plums,
= walnuts, fennel, saffron, pearl onions, mushrooms, marjoram, celery

A {value} lives on the {name} farm.
The {name} farm also keeps a {value}.
There is a {value} in the yard of the {name} farm.
Which three animals live on the {name} farm?
= goat, peacock, donkey, rooster, buffalo, tortoise, hedgehog, llama, pony, turkey, rabbit, sheepdog

The flag of {name} has a {value} stripe at the top.
The middle stripe of the flag of {name} is {value}.
The flag of {name} has a {value} stripe at the bottom.
Which three colours are in the flag of {name}?
= turquoise, crimson, lilac, scarlet, maroon, saffron, violet, beige, magenta, purple, lavender

One member of the {name} trio plays the {value}.
Another member of the {name} trio plays the {value}.
The leader of the {name} trio plays the {value}.
Which three instruments does the {name} trio play?
= cello, bassoon, mandolin, trombone, accordion, clarinet, viola, dulcimer, piccolo, banjo, trumpet
"""
