"""The words of the synthetic world: closed lists, so that a model of a few million parameters can copy them all."""

from dataclasses import dataclass

NAMES = (
    "Anna Ben Clara David Emma Felix Grace Henry Irene Jonas Karen Leo Maria Noah Olivia Peter Quinn Rosa Simon Tara "
    "Ursula Victor Wendy Xavier Yara Zoe Alice Bruno Carla Daniel Elena Frank Greta Hugo Iris Julia Kevin Laura Marco "
    "Nina Oscar Paula Robert Sofia Thomas Vera Walter Yusuf Amir Bella Cora Dora Erik Fiona Gavin Helen Ivan Jane Karl Lena"
).split()

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
HOURS = tuple(range(7, 21))

PREDICATES = tuple(
    (
        "is late|is ready|is broken|is missing|is open|is closed|is cancelled|is complete|is delayed|is wrong|is empty|is full|"
        "has arrived|has changed|has failed|has improved|has moved|has started|was approved|was found|was rejected|was sold|"
        "was tested|needs repair|needs approval|looks good"
    ).split("|")
)

VERBS = tuple(
    "check send call bring book review order cancel move update sign compare clean confirm share keep".split()
)


@dataclass(frozen=True)
class Kind:
    """One kind of context: who an email goes to, or what document is summarised, with its own vocabulary."""

    name: str
    task: str
    nouns: tuple[str, ...]
    topics: tuple[str, ...]
    places: tuple[str, ...]
    objects: tuple[str, ...]
    fillers: tuple[str, ...] = ()


def _kind(name: str, task: str, nouns: str, topics: str, places: str, objects: str, fillers: str = "") -> Kind:
    def words(text: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in text.split(","))

    sentences = tuple(part.strip() for part in fillers.split("|") if part)
    return Kind(name, task, words(nouns), words(topics), words(places), words(objects), sentences)


KINDS: tuple[Kind, ...] = (
    _kind(
        "landlord", "email",
        "radiator, boiler, door, window, key, shower, lamp, fridge, roof, lock",
        "the heating, the rent, the lease, the flat, the neighbours, the repair, the deposit, the noise",
        "the kitchen, the bathroom, the hallway, the basement, the balcony, the garage",
        "a plumber, the rent receipt, the lease copy, an electrician, the spare key, a painter, the meter, the caretaker",
    ),
    _kind(
        "client", "email",
        "invoice, contract, offer, budget, delivery, order, payment, proposal, licence, sample",
        "the project, the renewal, the pricing, the launch, the campaign, the account, the discount, the warranty",
        "the head office, the showroom, the boardroom, the warehouse, the hotel, the factory",
        "the quote, the purchase order, the terms, the product list, the brochure, the bank details, the forecast, the sales team",
    ),
    _kind(
        "colleague", "email",
        "server, database, branch, ticket, laptop, build, dashboard, password, backup, script",
        "the release, the sprint, the outage, the migration, the deploy, the refactoring, the roadmap, the interview",
        "the server room, the lab, the open space, the call channel, the standup corner, the desk area",
        "the logs, the pull request, the test plan, the staging host, the issue tracker, the code owner, the metrics, the pipeline",
    ),
    _kind(
        "friend", "email",
        "guitar, tent, bike, cake, film, concert, game, picnic, kayak, playlist",
        "the party, the trip, the holiday, the hike, the wedding, the birthday, the barbecue, the festival",
        "the beach, the park, the cinema, the pub, the lake, the campsite",
        "the snacks, the tickets, the drinks, the sleeping bags, the photos, the board games, the car, the tents",
    ),
    _kind(
        "teacher", "email",
        "essay, exam, textbook, homework, lesson, timetable, grade, classroom, uniform, permission slip",
        "the school trip, the maths class, the parents evening, the reading list, the science fair, the term, the absence, the choir",
        "the gym, the library, the school hall, the music room, the canteen, the playground",
        "the worksheet, the report card, the parents, the pupils, the exercise book, the school nurse, the spelling list, the bus",
    ),
    _kind(
        "doctor", "email",
        "prescription, vaccine, scan, allergy test, blood test, referral, bandage, tablet, diagnosis, therapy",
        "the treatment, the surgery, the check-up, the symptoms, the headache, the insurance, the fever, the injury",
        "the clinic, the pharmacy, the ward, the waiting room, the hospital, the reception",
        "the medical file, the dose, the specialist, the nurse, the test results, the X-ray, the health card, the dentist",
    ),
    _kind(
        "news", "summary",
        "bridge, election, parliament, tax, airport, strike, minister, border, election law, harbour",
        "the city council, the government, the economy, the flood, the vote, the protest, the treaty, the energy crisis",
        "the capital, the town square, the ministry, the court, the embassy, the stadium",
        "the citizens, the ballot, the press, the mayor, the police, the public hearing, the road map, the voters",
        "Reporters were present.|The opposition disagreed.|Officials gave no comment.|Crowds gathered outside.",
    ),
    _kind(
        "review", "summary",
        "soup, dessert, waiter, menu, wine, pasta, table, steak, coffee, salad",
        "the restaurant, the bistro, the tasting menu, the brunch, the bakery, the food truck, the dinner, the cafe",
        "the terrace, the old town, the dining room, the market hall, the rooftop, the riverside",
        "a table, the fish, the chef, the lunch menu, the cheese plate, the house wine, the dish of the day, the cook",
        "The music was loud.|Guests queued at the entrance.|The candles were lit.|Portions were generous.",
    ),
    _kind(
        "study", "summary",
        "experiment, sample size, hypothesis, telescope, dataset, microscope, protein, reactor, sensor, survey",
        "the climate, the genome, the black hole, the battery, the coral reef, the virus, the robot arm, the glacier",
        "the laboratory, the observatory, the institute, the field station, the university, the research vessel",
        "the measurements, the data, the control group, the reviewers, the funding agency, the code archive, the samples, the authors",
        "Two papers were cited.|The error bars were small.|Graduate students helped.|The method was peer reviewed.",
    ),
    _kind(
        "minutes", "summary",
        "agenda, motion, quorum, bylaw, committee, treasurer, vote count, annual plan, membership fee, statute",
        "the board meeting, the association, the merger, the strategy, the audit, the restructuring, the hiring plan, the charter",
        "the meeting room, the annex, the conference centre, the town hall, the headquarters, the video call",
        "the minutes, the members, the chairperson, the auditors, the secretary, the finance report, the action list, the delegates",
        "Coffee was served.|Apologies were noted.|The chair opened the session.|All members were present.",
    ),
    _kind(
        "incident", "summary",
        "alarm, fire door, forklift, valve, pump, ladder, sprinkler, crane, generator, chemical tank",
        "the accident, the leak, the evacuation, the power cut, the fire drill, the near miss, the spill, the inspection",
        "the loading dock, the assembly line, the storage yard, the control room, the boiler house, the east gate",
        "the safety officer, the fire brigade, the first aid kit, the operators, the maintenance crew, the gas detector, the helmets, the insurer",
        "Nobody was hurt.|The area was taped off.|Photographs were taken.|The shift was stopped.",
    ),
    _kind(
        "travel", "summary",
        "ferry, train, hostel, passport, museum, castle, trail, luggage, tour guide, cable car",
        "the island, the national park, the old harbour, the desert tour, the mountain pass, the cruise, the safari, the city break",
        "the station, the visitor centre, the campground, the viewpoint, the terminal, the valley",
        "the travel agency, the sunscreen, the guidebook, the rental car, the boat, the hotel room, the local guide, the map",
        "The sun was shining.|Tourists took pictures.|The views were wide.|Souvenirs were cheap.",
    ),
)  # fmt: skip

KIND_BY_NAME = {kind.name: kind for kind in KINDS}
